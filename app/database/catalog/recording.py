"""Check whether the server records schema changes.

The source of the recording function is compared: a replaced function could record nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.database.catalog.fingerprint import redact
from app.database.client.primary import AsyncpgConnection
from app.database.client.statements import sql
from app.database.role_names import APP, AUDITOR, BACKUP, READONLY

# The setting that changes how PostgreSQL prints the names below.
QUOTE_SETTING = "set local quote_all_identifiers = off"

# Name, event and state: `A` is enabled always. They have no filter on the kind of statement.
_EXPECTED_TRIGGERS = {
    "flagstone_ddl_command_end": "flagstone_ddl_command_end ddl_command_end A",
    "flagstone_sql_drop": "flagstone_sql_drop sql_drop A",
}
_EXPECTED_TRAITS = "plpgsql definer volatile search_path=pg_catalog, pg_temp"
_EXPECTED_RIGHTS = {
    *(f"schema {role} usage" for role in (APP, READONLY, BACKUP)),
    *(f"table {role} select" for role in (APP, READONLY, BACKUP)),
    *(f"sequence {role} select" for role in (READONLY, BACKUP)),
}
_EXPECTED_COLUMNS = {
    "id bigint a",
    "at timestamp with time zone clock_timestamp()",
    "session_role text",
    "acting_role text",
    "application text",
    "client text null",
    "tag text",
    "object_type text null",
    "object text null",
    "is_direct boolean",
    "statement text",
    "PRIMARY KEY (id)",
}

# The recorded statement is cut before its first literal or comment: one that was sent with it may
# contain a password. If this function fails, the schema change fails. Any edit, even of a comment,
# makes existing records count as broken until `database provision` runs again.
FUNCTION_SOURCE = """
declare
    head text := left(coalesce(current_query(), ''), 1024);
    cut integer := least(
        nullif(strpos(head, ''''), 0),
        nullif(strpos(head, '$'), 0),
        nullif(strpos(head, '--'), 0),
        nullif(strpos(head, '/*'), 0)
    );
    shown text := case
        when cut is not null then left(head, cut - 1) || '...'
        when length(current_query()) > 1024 then head || '...'
        else head
    end;
    role text := current_setting('role');
begin
    role := case when role = 'none' then session_user::text else role end;
    if tg_event = 'sql_drop' then
        insert into flagstone_audit.schema_audit (
            session_role, acting_role, application, client,
            tag, object_type, object, is_direct, statement
        )
        select
            session_user, role, left(current_setting('application_name'), 255),
            host(inet_client_addr()),
            tg_tag, left(dropped.object_type, 255), left(dropped.object_identity, 1024),
            dropped.original, shown
        from pg_event_trigger_dropped_objects() as dropped
        where not dropped.is_temporary
          -- Row types and TOAST tables belong to a table that is recorded.
          and (
              dropped.original
              or dropped.object_type <> 'type' and dropped.schema_name is distinct from 'pg_toast'
          );
        return;
    end if;
    insert into flagstone_audit.schema_audit (
        session_role, acting_role, application, client,
        tag, object_type, object, is_direct, statement
    )
    select
        session_user, role, left(current_setting('application_name'), 255),
        host(inet_client_addr()),
        executed.command_tag, left(executed.object_type, 255), left(executed.object_identity, 1024),
        true, shown
    from pg_event_trigger_ddl_commands() as executed
    where executed.schema_name is distinct from 'pg_temp';
    -- It also revokes rights, which no other event reports.
    if tg_tag = 'DROP OWNED' then
        insert into flagstone_audit.schema_audit (
            session_role, acting_role, application, client, tag, is_direct, statement
        )
        values (
            session_user, role, left(current_setting('application_name'), 255),
            host(inet_client_addr()), tg_tag, true, shown
        );
    end if;
exception
    when others then
        raise exception 'refused: the schema audit cannot record this change: %', sqlerrm
            using errcode = sqlstate,
                hint = 'Run `python -m app database provision` to repair the audit.';
end
"""


class RecordingStatus(StrEnum):
    RECORDING = "recording"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Whether schema changes are recorded. `reason` says why they are not."""

    status: RecordingStatus
    reason: str | None = None


async def find_recording(connection: AsyncpgConnection) -> Recording:
    """Return whether the server records schema changes."""
    async with connection.transaction():
        await connection.execute(QUOTE_SETTING)
        return evaluate(await sql.get_schema_recording(connection))


def evaluate(row: Mapping[str, Any]) -> Recording:
    """Evaluate the row of `get_schema_recording`."""
    if row["schema_owner"] is None:
        return Recording(
            status=RecordingStatus.UNAVAILABLE,
            reason="the server refused event triggers to `database provision`, or the command was "
            "not run for this database"
            if row["has_role"]
            else "`database provision` was not run by a release that has the schema audit",
        )
    problems = list(_problems(row))
    if problems:
        return Recording(status=RecordingStatus.BROKEN, reason="; ".join(problems))
    return Recording(status=RecordingStatus.RECORDING)


def _problems(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _problems_of_triggers(row["triggers"])
    if row["source"] is None:
        yield "the function record_ddl is missing"
    elif _function(row) != (FUNCTION_SOURCE, AUDITOR, _EXPECTED_TRAITS):
        yield "the function record_ddl differs from the one of this release"
    if row["table_owner"] is None:
        yield "the table schema_audit is missing"
    elif {row["table_owner"], row["schema_owner"]} != {AUDITOR}:
        yield f"{AUDITOR} does not own the schema and the table"
    if row["table_extras"]:
        yield f"the table schema_audit has: {', '.join(map(redact, row['table_extras']))}"
    if row["table_owner"] and set(row["table_columns"]) != _EXPECTED_COLUMNS:
        yield "the columns or constraints of the table schema_audit differ from this release"
    if row["table_owner"] and set(row["rights"]) != _EXPECTED_RIGHTS:
        yield "the rights to the table schema_audit differ from this release"
    if row["members"]:
        yield f"{', '.join(row['members'])} may become {AUDITOR}"
    if row["role_logs_in"]:
        yield f"{AUDITOR} may log in"


def _problems_of_triggers(triggers: Iterable[str]) -> Iterator[str]:
    by_name = {trigger.partition(" ")[0]: trigger for trigger in triggers}
    for name, expected in _EXPECTED_TRIGGERS.items():
        if name not in by_name:
            yield f"the event trigger {name} is missing"
        elif by_name[name] != expected:
            yield f"the event trigger {name} is disabled or altered"


def _function(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["source"], row["function_owner"], row["function_traits"]
