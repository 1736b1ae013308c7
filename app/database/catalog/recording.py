"""Whether the server records who changes the schema: what must be so for that, and what is not.

The function's own text is compared, not only that there is one: who may replace it could otherwise
have it record nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.database.catalog.fingerprint import shown
from app.database.role_names import APP, AUDITOR, BACKUP, READONLY

AUDIT_SCHEMA = "flagstone_audit"
TRIGGERS = ("flagstone_ddl_command_end", "flagstone_sql_drop")
# What decides how the catalog is put into words here, for the transaction that reads or makes it.
UNQUOTED = "set local quote_all_identifiers = off"
READERS = (APP, READONLY, BACKUP)
# A dump reads the sequences too.
DUMPERS = (READONLY, BACKUP)

# How the catalog tells of event triggers that fire always, and for every kind of statement.
_EXPECTED_TRIGGERS = {name: f"{name} {name.removeprefix('flagstone_')} A" for name in TRIGGERS}
_EXPECTED_TRAITS = "plpgsql definer volatile search_path=pg_catalog, pg_temp"
_EXPECTED_RIGHTS = {
    *(f"schema {role} usage" for role in READERS),
    *(f"table {role} select" for role in READERS),
    *(f"sequence {role} select" for role in DUMPERS),
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

# Never what stands in a statement from its first literal on: a password may be there, in whatever
# statement was sent along with this one. Whatever fails here fails what was to be recorded.
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
          -- A table's row types and its store of long values say nothing that it does not.
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
        made.command_tag, left(made.object_type, 255), left(made.object_identity, 1024),
        true, shown
    from pg_event_trigger_ddl_commands() as made
    where made.schema_name is distinct from 'pg_temp';
    -- What it takes away besides objects, nothing else tells of.
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
        raise exception 'the schema audit cannot record this, so it is not done: %', sqlerrm
            using errcode = sqlstate, hint = 'python -m app database provision repairs the audit';
end
"""


class RecordingStatus(StrEnum):
    RECORDING = "recording"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Whether changes of the schema are recorded; `reason` says why not."""

    status: RecordingStatus
    reason: str | None = None


def examine(found: Mapping[str, Any]) -> Recording:
    """Judge a row of `get_schema_recording`."""
    if found["schema_owner"] is None:
        return Recording(
            status=RecordingStatus.UNAVAILABLE,
            reason="the server did not let `database provision` make event triggers, or it has not "
            "been run for this database"
            if found["has_role"]
            else "`database provision` has not been run, or not since there is a schema audit",
        )
    problems = list(_problems(found))
    if problems:
        return Recording(status=RecordingStatus.BROKEN, reason="; ".join(problems))
    return Recording(status=RecordingStatus.RECORDING)


def _problems(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _problems_of_triggers(found["triggers"])
    if found["source"] is None:
        yield "the function record_ddl is missing"
    elif _function(found) != (FUNCTION_SOURCE, AUDITOR, _EXPECTED_TRAITS):
        yield "the function record_ddl is not the one that this release makes"
    if found["table_owner"] is None:
        yield "the table schema_audit is missing"
    elif {found["table_owner"], found["schema_owner"]} != {AUDITOR}:
        yield f"{AUDITOR} does not own the schema and the table"
    if found["table_extras"]:
        yield f"the table schema_audit has the {', the '.join(map(shown, found['table_extras']))}"
    if found["table_owner"] and set(found["table_columns"]) != _EXPECTED_COLUMNS:
        yield "the table schema_audit has not the columns and constraints that this release makes"
    if found["table_owner"] and set(found["rights"]) != _EXPECTED_RIGHTS:
        yield "others may do more, or less, with the table schema_audit than they should"
    if found["members"]:
        yield f"{', '.join(found['members'])} may become {AUDITOR}"
    if found["role_logs_in"]:
        yield f"{AUDITOR} may log in"


def _problems_of_triggers(triggers: Iterable[str]) -> Iterator[str]:
    there = {told.partition(" ")[0]: told for told in triggers}
    for name, expected in _EXPECTED_TRIGGERS.items():
        if name not in there:
            yield f"the event trigger {name} is missing"
        elif there[name] != expected:
            yield f"the event trigger {name} is disabled or altered"


def _function(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["source"], found["function_owner"], found["function_traits"]
