"""Create or repair the recording of schema changes by event triggers.

The administrator creates it, not a migration: the migrator owns what a migration creates and could
rewrite it. A role without members owns the table and the function that inserts into it. The event
triggers belong to the superuser and fire for every role.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from app.database.catalog.recording import (
    FUNCTION_SOURCE,
    QUOTE_SETTING,
    Recording,
    RecordingStatus,
    evaluate,
)
from app.database.client.blocking import run
from app.database.client.statements import sql as statements
from app.log import logger

log = logger(__name__)

_LOCK_KEY = 0x61756469  # "audi" in ASCII
_TABLE = sql.SQL("flagstone_audit.schema_audit")
_OBJECTS = {
    "schema": sql.SQL("flagstone_audit"),
    "table": _TABLE,
    "sequence": sql.SQL("flagstone_audit.schema_audit_id_seq"),
}
_DROP_TRIGGERS = """
drop event trigger if exists flagstone_ddl_command_end;
drop event trigger if exists flagstone_sql_drop;
"""
_CREATE_TABLE = """
create schema if not exists flagstone_audit authorization flagstone_auditor;
alter schema flagstone_audit owner to flagstone_auditor;

create table if not exists flagstone_audit.schema_audit (
    id           bigint      not null generated always as identity,
    -- The time of the change: its transaction may have begun much earlier.
    at           timestamptz not null default clock_timestamp(),
    session_role text        not null,
    acting_role  text        not null,
    application  text        not null,
    client       text,
    tag          text        not null,
    object_type  text,
    object       text,
    is_direct    boolean     not null,
    statement    text        not null,

    constraint schema_audit_pkey primary key (id)
);
comment on table flagstone_audit.schema_audit is
    'Every schema change of this database, with its role. Statements are cut before a literal.';
alter table flagstone_audit.schema_audit owner to flagstone_auditor;
alter table flagstone_audit.schema_audit disable row level security;
alter table flagstone_audit.schema_audit set logged;
"""
_GRANT_RIGHTS = """
grant usage on schema flagstone_audit to flagstone_app, flagstone_readonly, flagstone_backup;
grant select on flagstone_audit.schema_audit
    to flagstone_app, flagstone_readonly, flagstone_backup;
-- pg_dump also reads sequences.
grant select on sequence flagstone_audit.schema_audit_id_seq
    to flagstone_readonly, flagstone_backup;
"""
_CREATE_FUNCTION = f"""
-- Drop and create: `create or replace` would keep a wrong owner.
drop function if exists flagstone_audit.record_ddl();
create function flagstone_audit.record_ddl() returns event_trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $source${FUNCTION_SOURCE}$source$;
alter function flagstone_audit.record_ddl() owner to flagstone_auditor;
revoke all on function flagstone_audit.record_ddl() from public;
"""
_RECORD_REPAIR = """
insert into flagstone_audit.schema_audit (
    session_role, acting_role, application, client, tag, object_type, object, is_direct, statement
)
values (
    session_user, current_user, current_setting('application_name'), host(inet_client_addr()),
    'REPAIR', 'schema audit', left(%s, 1024), true, ''
)
"""
_CREATE_TRIGGERS = """
create event trigger flagstone_ddl_command_end on ddl_command_end
    execute function flagstone_audit.record_ddl();
create event trigger flagstone_sql_drop on sql_drop
    execute function flagstone_audit.record_ddl();
-- Always: also in a session with session_replication_role = replica.
alter event trigger flagstone_ddl_command_end enable always;
alter event trigger flagstone_sql_drop enable always;
"""


def read_recording(connection: psycopg.Connection[Any]) -> Recording:
    """Return whether schema changes are recorded in this database."""
    return evaluate(_get_row(connection))


def provision_schema_audit(connection: psycopg.Connection[Any]) -> None:
    """Create or repair the recording. Change nothing if it is complete.

    If the server refuses event triggers to its administrator, log it and create nothing. A
    repair is logged and recorded as a row: it may be a sign of tampering. Raises psycopg.Error.
    """
    row = _get_row(connection)
    recording = evaluate(row)
    if recording.status is RecordingStatus.RECORDING:
        return
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '60s'")
            connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            # Another process may have repaired it while this one waited for the lock.
            row = _get_row(connection)
            recording = evaluate(row)
            if recording.status is not RecordingStatus.RECORDING:
                _create(connection, row, recording)
    except psycopg.errors.InsufficientPrivilege:
        log.warning(
            "schema_audit_unavailable",
            reason="the server refuses event triggers to this administrator; schema changes still "
            "show as drift",
        )
        return
    after = read_recording(connection)
    if after.status is not RecordingStatus.RECORDING:
        # Additional columns are not dropped: they may contain records.
        log.warning("schema_audit_not_repaired", reason=after.reason)
    elif recording.status is RecordingStatus.BROKEN:
        log.warning("schema_audit_repaired", reason=recording.reason)
    elif recording.status is RecordingStatus.UNAVAILABLE:
        log.info("schema_audit_created")


def _get_row(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
    with connection.transaction():
        connection.execute(QUOTE_SETTING)
        cursor = run(connection, statements.get_schema_recording, row_factory=dict_row)
        row: Mapping[str, Any] = cursor.fetchall()[0]
    return row


def _create(
    connection: psycopg.Connection[Any], row: Mapping[str, Any], recording: Recording
) -> None:
    # Drop the triggers first: they would fail if the table or the function is missing.
    connection.execute(_DROP_TRIGGERS)
    for member in row["members"]:
        _run(connection, "revoke flagstone_auditor from {}", sql.Identifier(member))
    if row["role_logs_in"]:
        connection.execute("alter role flagstone_auditor nologin")
    is_superuser = connection.info.parameter_status("is_superuser") == "on"
    if not is_superuser:
        # Only a member may give ownership to the role. The membership ends below.
        connection.execute("grant flagstone_auditor to current_user")
    connection.execute(_CREATE_TABLE)
    _remove_extras(connection, row)
    connection.execute(_GRANT_RIGHTS)
    connection.execute(_CREATE_FUNCTION)
    if recording.status is RecordingStatus.BROKEN:
        connection.execute(_RECORD_REPAIR, [recording.reason or ""])
    if not is_superuser:
        connection.execute("revoke flagstone_auditor from current_user")
    connection.execute(_CREATE_TRIGGERS)


def _remove_extras(connection: psycopg.Connection[Any], row: Mapping[str, Any]) -> None:
    """Remove what does not belong to the table, and every right to it."""
    for extra in row["table_extras"]:
        # The catalog has quoted the name.
        kind, _, name = extra.partition(" ")
        if kind == "child":
            _run(connection, "alter table {} no inherit {}", sql.SQL(name), _TABLE)
        elif kind in {"trigger", "rule"}:
            _run(connection, "drop {} {} on {}", sql.SQL(kind), sql.SQL(name), _TABLE)
    for right in row["rights"]:
        kind, _, rest = right.partition(" ")
        role = rest.rpartition(" ")[0]
        grantee = sql.SQL("public") if role == "public" else sql.Identifier(role)
        # A revoke on the table includes its columns.
        _run(connection, f"revoke all on {kind} {{}} from {{}}", _OBJECTS[kind], grantee)


def _run(connection: psycopg.Connection[Any], template: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(template).format(*parts))
