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
    AUDIT_SCHEMA,
    DUMPERS,
    FUNCTION_SOURCE,
    QUOTE_SETTING,
    READERS,
    TRIGGERS,
    Recording,
    RecordingStatus,
    evaluate,
)
from app.database.client.statements import run
from app.database.client.statements import sql as statements
from app.database.role_names import AUDITOR
from app.log import logger

log = logger(__name__)

_LOCK_KEY = 0x61756469  # "audi" in ASCII
_TABLE = sql.Identifier(AUDIT_SCHEMA, "schema_audit")
_SEQUENCE = sql.Identifier(AUDIT_SCHEMA, "schema_audit_id_seq")
_FUNCTION = sql.Identifier(AUDIT_SCHEMA, "record_ddl")
_CREATE_TABLE = """
create table if not exists {} (
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
)
"""
_COMMENT = (
    "Every schema change of this database, with its role. Statements are cut before a literal."
)


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
    for name in TRIGGERS:
        _run(connection, "drop event trigger if exists {}", sql.Identifier(name))
    auditor = sql.Identifier(AUDITOR)
    for member in row["members"]:
        _run(connection, "revoke {} from {}", auditor, sql.Identifier(member))
    if row["role_logs_in"]:
        _run(connection, "alter role {} nologin", auditor)
    is_superuser = connection.info.parameter_status("is_superuser") == "on"
    if not is_superuser:
        # Only a member may give ownership to the role. The membership ends below.
        _run(connection, "grant {} to current_user", auditor)
    _create_table(connection, row)
    _create_function(connection)
    if recording.status is RecordingStatus.BROKEN:
        _record_repair(connection, recording.reason or "")
    if not is_superuser:
        _run(connection, "revoke {} from current_user", auditor)
    for name in TRIGGERS:
        event = sql.SQL(name.removeprefix("flagstone_"))
        trigger = sql.Identifier(name)
        _run(
            connection,
            "create event trigger {} on {} execute function {}()",
            *(trigger, event, _FUNCTION),
        )
        # Always: also in a session with session_replication_role = replica.
        _run(connection, "alter event trigger {} enable always", trigger)


def _create_table(connection: psycopg.Connection[Any], row: Mapping[str, Any]) -> None:
    schema, auditor = sql.Identifier(AUDIT_SCHEMA), sql.Identifier(AUDITOR)
    if row["schema_owner"] is None:
        _run(connection, "create schema {} authorization {}", schema, auditor)
    elif row["schema_owner"] != AUDITOR:
        _run(connection, "alter schema {} owner to {}", schema, auditor)
    _run(connection, _CREATE_TABLE, _TABLE)
    _run(connection, "alter table {} owner to {}", _TABLE, auditor)
    _run(connection, "comment on table {} is {}", _TABLE, sql.Literal(_COMMENT))
    _run(connection, "alter table {} disable row level security", _TABLE)
    _run(connection, "alter table {} set logged", _TABLE)
    for extra in row["table_extras"]:
        # The catalog has quoted the name.
        kind, _, name = extra.partition(" ")
        if kind == "child":
            _run(connection, "alter table {} no inherit {}", sql.SQL(name), _TABLE)
        elif kind in {"trigger", "rule"}:
            _run(connection, "drop {} {} on {}", sql.SQL(kind), sql.SQL(name), _TABLE)
    _grant_rights(connection, row)


def _grant_rights(connection: psycopg.Connection[Any], row: Mapping[str, Any]) -> None:
    objects = {"schema": sql.Identifier(AUDIT_SCHEMA), "table": _TABLE, "sequence": _SEQUENCE}
    for right in row["rights"]:
        kind, _, rest = right.partition(" ")
        role = rest.rpartition(" ")[0]
        grantee = sql.SQL("public") if role == "public" else sql.Identifier(role)
        # A revoke on the table includes its columns.
        _run(connection, "revoke all on {} {} from {}", sql.SQL(kind), objects[kind], grantee)
    readers, dumpers = (
        sql.SQL(", ").join(map(sql.Identifier, roles)) for roles in (READERS, DUMPERS)
    )
    _run(connection, "grant usage on schema {} to {}", objects["schema"], readers)
    _run(connection, "grant select on {} to {}", _TABLE, readers)
    _run(connection, "grant select on sequence {} to {}", _SEQUENCE, dumpers)


def _create_function(connection: psycopg.Connection[Any]) -> None:
    # Drop and create: `create or replace` would keep a wrong owner.
    _run(connection, "drop function if exists {}()", _FUNCTION)
    _run(
        connection,
        "create function {}() returns event_trigger language plpgsql security definer "
        "set search_path = pg_catalog, pg_temp as {}",
        *(_FUNCTION, sql.Literal(FUNCTION_SOURCE)),
    )
    _run(connection, "alter function {}() owner to {}", _FUNCTION, sql.Identifier(AUDITOR))
    _run(connection, "revoke all on function {}() from public", _FUNCTION)


def _record_repair(connection: psycopg.Connection[Any], reason: str) -> None:
    connection.execute(
        sql.SQL(
            "insert into {} (session_role, acting_role, application, client, tag, object_type, "
            "object, is_direct, statement) values (session_user, current_user, "
            "current_setting('application_name'), host(inet_client_addr()), 'REPAIR', "
            "'schema audit', left(%s, 1024), true, '')"
        ).format(_TABLE),
        [reason],
    )


def _run(connection: psycopg.Connection[Any], template: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(template).format(*parts))
