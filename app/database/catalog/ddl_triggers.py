"""The server's own record of who changed the schema: made by the administrator, owned by nobody.

Not by a migration: whatever one makes belongs to the migrator, who could then rewrite it. A role
that nobody is a member of owns the table and the function that alone adds to it, and the event
triggers, which fire for everybody, are the superuser's.
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
    READERS,
    TRIGGERS,
    UNQUOTED,
    Recording,
    RecordingStatus,
    examine,
)
from app.database.client.statements import run
from app.database.client.statements import sql as statements
from app.database.role_names import AUDITOR
from app.log import logger

log = logger(__name__)

_LOCK_KEY = 0x61756469  # "audi"
_TABLE = sql.Identifier(AUDIT_SCHEMA, "schema_audit")
_SEQUENCE = sql.Identifier(AUDIT_SCHEMA, "schema_audit_id_seq")
_FUNCTION = sql.Identifier(AUDIT_SCHEMA, "record_ddl")
_MAKE_TABLE = """
create table if not exists {} (
    id           bigint      not null generated always as identity,
    -- Of the change, and not of its transaction, which may have begun long before.
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
_REMARK = (
    "Every change of a definition in this database, by whom; the statement up to its first literal."
)


def read_recording(connection: psycopg.Connection[Any]) -> Recording:
    """Look whether schema changes are recorded here."""
    return examine(_look(connection))


def make_schema_audit(connection: psycopg.Connection[Any]) -> None:
    """Make the record, or whatever of it is not as it should be; nothing is touched when all is.

    A server that gives no event triggers to its administrator gets none of it, and a log line says
    so. What is repaired is told by a log line and a row: it may be what somebody has tampered with.
    Raises psycopg.Error.
    """
    found = _look(connection)
    recording = examine(found)
    if recording.status is RecordingStatus.RECORDING:
        return
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '60s'")
            connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            # Somebody else may have been at it while this one waited.
            found = _look(connection)
            recording = examine(found)
            if recording.status is not RecordingStatus.RECORDING:
                _make(connection, found, recording)
    except psycopg.errors.InsufficientPrivilege:
        log.warning(
            "schema_audit_unavailable",
            reason="the server lets this administrator make no event triggers; the fingerprint "
            "still tells of changes",
        )
        return
    left = read_recording(connection)
    if left.status is not RecordingStatus.RECORDING:
        # Other columns are not taken away: what somebody has recorded in them would be lost.
        log.warning("schema_audit_not_repaired", reason=left.reason)
    elif recording.status is RecordingStatus.BROKEN:
        log.warning("schema_audit_repaired", reason=recording.reason)
    elif recording.status is RecordingStatus.UNAVAILABLE:
        log.info("schema_audit_made")


def _look(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
    with connection.transaction():
        connection.execute(UNQUOTED)
        cursor = run(connection, statements.get_schema_recording, row_factory=dict_row)
        row: Mapping[str, Any] = cursor.fetchall()[0]
    return row


def _make(
    connection: psycopg.Connection[Any], found: Mapping[str, Any], recording: Recording
) -> None:
    # First of all: those that are there would fail for what is missing.
    for name in TRIGGERS:
        _run(connection, "drop event trigger if exists {}", sql.Identifier(name))
    auditor = sql.Identifier(AUDITOR)
    for member in found["members"]:
        _run(connection, "revoke {} from {}", auditor, sql.Identifier(member))
    if found["role_logs_in"]:
        _run(connection, "alter role {} nologin", auditor)
    is_superuser = connection.info.parameter_status("is_superuser") == "on"
    if not is_superuser:
        # Only a member can give it things; not for longer than it takes.
        _run(connection, "grant {} to current_user", auditor)
    _make_table(connection, found)
    _make_function(connection)
    if recording.status is RecordingStatus.BROKEN:
        _tell(connection, recording.reason or "")
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
        # Also in a session that plays a replica.
        _run(connection, "alter event trigger {} enable always", trigger)


def _make_table(connection: psycopg.Connection[Any], found: Mapping[str, Any]) -> None:
    schema, auditor = sql.Identifier(AUDIT_SCHEMA), sql.Identifier(AUDITOR)
    if found["schema_owner"] is None:
        _run(connection, "create schema {} authorization {}", schema, auditor)
    elif found["schema_owner"] != AUDITOR:
        _run(connection, "alter schema {} owner to {}", schema, auditor)
    _run(connection, _MAKE_TABLE, _TABLE)
    _run(connection, "alter table {} owner to {}", _TABLE, auditor)
    _run(connection, "comment on table {} is {}", _TABLE, sql.Literal(_REMARK))
    _run(connection, "alter table {} disable row level security", _TABLE)
    _run(connection, "alter table {} set logged", _TABLE)
    for extra in found["table_extras"]:
        # The name comes quoted from the catalog.
        kind, _, name = extra.partition(" ")
        if kind == "child":
            _run(connection, "alter table {} no inherit {}", sql.SQL(name), _TABLE)
        elif kind in {"trigger", "rule"}:
            _run(connection, "drop {} {} on {}", sql.SQL(kind), sql.SQL(name), _TABLE)
    _give_rights(connection, found)


def _give_rights(connection: psycopg.Connection[Any], found: Mapping[str, Any]) -> None:
    things = {"schema": sql.Identifier(AUDIT_SCHEMA), "table": _TABLE, "sequence": _SEQUENCE}
    for right in found["rights"]:
        kind, _, rest = right.partition(" ")
        role = rest.rpartition(" ")[0]
        grantee = sql.SQL("public") if role == "public" else sql.Identifier(role)
        # Of the table, and so of its columns.
        _run(connection, "revoke all on {} {} from {}", sql.SQL(kind), things[kind], grantee)
    readers, dumpers = (
        sql.SQL(", ").join(map(sql.Identifier, roles)) for roles in (READERS, DUMPERS)
    )
    _run(connection, "grant usage on schema {} to {}", things["schema"], readers)
    _run(connection, "grant select on {} to {}", _TABLE, readers)
    _run(connection, "grant select on sequence {} to {}", _SEQUENCE, dumpers)


def _make_function(connection: psycopg.Connection[Any]) -> None:
    # Not replaced, which would keep an owner who is another.
    _run(connection, "drop function if exists {}()", _FUNCTION)
    _run(
        connection,
        "create function {}() returns event_trigger language plpgsql security definer "
        "set search_path = pg_catalog, pg_temp as {}",
        *(_FUNCTION, sql.Literal(FUNCTION_SOURCE)),
    )
    _run(connection, "alter function {}() owner to {}", _FUNCTION, sql.Identifier(AUDITOR))
    _run(connection, "revoke all on function {}() from public", _FUNCTION)


def _tell(connection: psycopg.Connection[Any], reason: str) -> None:
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
