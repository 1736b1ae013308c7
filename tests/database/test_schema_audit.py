"""Test that the server records schema changes, and that unrecorded changes are reported.

Each test runs on the embedded server and on an older, full server.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import asyncpg
import psycopg
import pytest
from structlog.testing import capture_logs

from app.database.catalog.ddl_triggers import read_recording
from app.database.catalog.fingerprint import WORDING, differences, fingerprint, redact
from app.database.catalog.recording import RecordingStatus
from app.database.client.drivers import asyncpg_arguments, libpq_arguments
from app.database.migrations import MigrationError
from app.database.migrations.expectation import read_facts
from app.database.migrations.files import FOLDER
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, BACKUP, MIGRATOR, OWNER
from app.database.roles.provision import Provisioner
from app.schema.drift import SchemaReport, inspect_schema
from tests.conftest import Server
from tests.database.full_postgres import FullServer, version_of

Connection = psycopg.Connection[tuple[object, ...]]

_NAME = "trail"
_CANARY = "Tr41l-canary"
_AUDIT = "flagstone_audit.schema_audit"
_READY = (
    "update pg_index set indisready = {} where indexrelid = 'flagstone.access_log_pkey'::regclass"
)
_FIRING = (
    "update pg_trigger set tgenabled = '{}' "
    "where tgisinternal and tgrelid = 'flagstone.configurations'::regclass"
)
_FUNCTION = "flagstone_audit.record_ddl()"
_TRIGGERS = ("flagstone_ddl_command_end", "flagstone_sql_drop")
_TAMPERING = (
    f"insert into {_AUDIT} default values",
    f"update {_AUDIT} set statement = ''",  # noqa: S608
    f"delete from {_AUDIT}",  # noqa: S608
    f"truncate {_AUDIT}",
    f"drop table {_AUDIT}",
    f"alter table {_AUDIT} add column extra integer",
    f"alter table {_AUDIT} disable trigger all",
    f"alter table {_AUDIT} owner to {OWNER}",
    f"create trigger t before insert on {_AUDIT} execute function tsvector_update_trigger()",
    f"create rule r as on insert to {_AUDIT} do instead nothing",
    f"create index on {_AUDIT} (at)",
    f"do 'begin lock table {_AUDIT} in access exclusive mode; end'",
    f"do 'begin lock table {_AUDIT} in share mode; end'",
    f"comment on table {_AUDIT} is 'x'",
    f"grant insert on {_AUDIT} to {OWNER}",
    f"drop function {_FUNCTION}",
    f"alter function {_FUNCTION} security invoker",
    f"alter function {_FUNCTION} set search_path = flagstone",
    f"alter function {_FUNCTION} rename to other",
    f"create or replace function {_FUNCTION} returns event_trigger language plpgsql as ''",
    "create table flagstone_audit.other (a integer)",
    "drop schema flagstone_audit cascade",
    "alter schema flagstone_audit rename to other",
    "grant all on schema flagstone_audit to flagstone_owner",
    *(f"drop event trigger {name}" for name in _TRIGGERS),
    *(f"alter event trigger {name} disable" for name in _TRIGGERS),
    f"alter event trigger {_TRIGGERS[0]} owner to {OWNER}",
    "create event trigger e on ddl_command_start execute function flagstone_audit.record_ddl()",
    "set session_replication_role = replica",
    "alter database trail set session_replication_role = replica",
    f"alter role {MIGRATOR} set session_replication_role = replica",
    "set role flagstone_auditor",
    "set session authorization flagstone_auditor",
    "grant flagstone_auditor to flagstone_owner",
    "alter default privileges for role flagstone_auditor grant all on tables to public",
    "create role r",
    "create table public.t (a integer)",
    "alter sequence flagstone_audit.schema_audit_id_seq restart",
)
# Changes that only a superuser may make, and the problem that must be reported.
_BREAKING = {
    f"drop event trigger {_TRIGGERS[0]}": f"the event trigger {_TRIGGERS[0]} is missing",
    f"alter event trigger {_TRIGGERS[1]} disable": f"{_TRIGGERS[1]} is disabled or altered",
    f"alter event trigger {_TRIGGERS[1]} enable": f"{_TRIGGERS[1]} is disabled or altered",
    f"create or replace function {_FUNCTION} returns event_trigger language plpgsql "
    "security definer set search_path = pg_catalog, pg_temp as 'begin end'": (
        "the function record_ddl differs"
    ),
    f"alter function {_FUNCTION} security invoker": "the function record_ddl differs",
    # With the trigger enabled, the change fails: it cannot be recorded.
    f"alter event trigger {_TRIGGERS[0]} disable; alter function {_FUNCTION} owner to {OWNER}": (
        "the function record_ddl differs"
    ),
    f"drop function {_FUNCTION} cascade": "the function record_ddl is missing",
    f"create rule r as on insert to {_AUDIT} do instead nothing": "has: rule r",
    f"alter table {_AUDIT} enable row level security": "has: row security",
    f"grant delete on {_AUDIT} to {APP}": "the rights to the table",
    f"revoke all on {_AUDIT} from {APP}": "the rights to the table",
    f"alter table {_AUDIT} owner to {OWNER}": "does not own the schema and the table",
    f"grant update (statement) on {_AUDIT} to {APP}": "the rights to the table",
    f"grant create on schema flagstone_audit to {APP}": "the rights to the table",
    f"grant usage on sequence {_AUDIT}_id_seq to {APP}": "the rights to the table",
    f"alter table {_AUDIT} set unlogged": "has: storage that a crash empties",
    f"create table public.child () inherits ({_AUDIT})": "has: child public.child",
    f"alter table {_AUDIT} alter at set default '2000-01-01'": "the columns or constraints",
    f"alter table {_AUDIT} add check (tag <> '')": "the columns or constraints",
    # With the trigger enabled, this and every later change fails.
    f"alter event trigger {_TRIGGERS[0]} disable; alter function {_FUNCTION} stable": (
        "the function record_ddl differs"
    ),
    "alter role flagstone_auditor login": "flagstone_auditor may log in",
    "create role other; grant flagstone_auditor to other": "other may become flagstone_auditor",
    f"grant flagstone_auditor to {OWNER}": f"{MIGRATOR}, {OWNER} may become flagstone_auditor",
}


@dataclass(frozen=True, kw_only=True)
class Trail:
    """A migrated database that tests may damage, with connections of three roles."""

    server: Server | FullServer
    provisioner: Provisioner
    admin: Connection
    migrator: Connection
    app: Connection

    @contextmanager
    def owner(self) -> Iterator[Connection]:
        self.migrator.execute(f"set role {OWNER}")
        try:
            yield self.migrator
        finally:
            self.migrator.execute("reset role")

    def rows(self, columns: str, after: int = 0) -> list[tuple[object, ...]]:
        query = f"select {columns} from {_AUDIT} where id > {after} order by id"  # noqa: S608
        return self.app.execute(query.encode()).fetchall()

    def last(self) -> int:
        row = self.app.execute(f"select coalesce(max(id), 0) from {_AUDIT}".encode()).fetchone()  # noqa: S608
        assert row is not None
        return int(str(row[0]))

    def runner(self, folder: Path = FOLDER) -> Migrator:
        return Migrator(
            target=self.server.target(MIGRATOR, _NAME),
            settings=self.provisioner.settings,
            instance="tests",
            folder=folder,
        )

    async def inspect(self) -> SchemaReport:
        target = self.server.target(APP, _NAME)
        host, port = target.hosts[0]
        arguments = asyncpg_arguments(target, self.provisioner.settings)
        connection = await asyncpg.connect(host=host, port=port, **arguments)
        try:
            return await inspect_schema(connection)
        finally:
            await connection.close()


@pytest.fixture(scope="module", params=["server", "plain_server"])
def trail(request: pytest.FixtureRequest) -> Iterator[Trail]:
    server: Server | FullServer = request.getfixturevalue(request.param)
    provisioner = replace(server.provisioner, database=_NAME)
    provisioner.provision()

    def connect(role: str) -> Connection:
        target = server.target(role, _NAME)
        return psycopg.connect(**libpq_arguments(target, provisioner.settings), autocommit=True)

    with server.admin(_NAME) as admin, connect(MIGRATOR) as migrator, connect(APP) as app:
        trail = Trail(
            server=server, provisioner=provisioner, admin=admin, migrator=migrator, app=app
        )
        trail.runner().migrate()
        yield trail
    with server.admin() as admin:
        admin.execute(f"drop database {_NAME} with (force)".encode())


def _refused(connection: Connection, statement: str) -> bool:
    """Return whether the statement is refused. Some refused grants only raise a warning."""
    notices: list[str | None] = []

    def add_notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(diagnostic.message_primary)

    connection.add_notice_handler(add_notice)
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    finally:
        connection.remove_notice_handler(add_notice)
    return bool(notices) and all(
        str(text).startswith("no privileges were granted") for text in notices
    )


def _extension(trail: Trail) -> object:
    """Return an available extension that the right to create schemas does not allow."""
    row = trail.admin.execute(
        "select name from pg_available_extension_versions "
        "where not (installed or trusted) order by name limit 1"
    ).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.slow
def test_no_role_can_tamper_with_the_recording(trail: Trail) -> None:
    statements = [*_TAMPERING, f"create extension {_extension(trail)}"]
    if trail.admin.info.server_version >= 170000:
        statements += ["set event_triggers = off", "alter database trail set event_triggers = off"]
    done = [s for s in statements for c in (trail.app, trail.migrator) if not _refused(c, s)]
    with trail.owner() as owner:
        done += [statement for statement in statements if not _refused(owner, statement)]

    assert done == []
    assert read_recording(trail.admin).status is RecordingStatus.RECORDING


def test_manual_change_is_recorded_with_role_and_object(trail: Trail) -> None:
    before = trail.last()
    with trail.owner() as owner:
        owner.execute("set application_name = 'by hand'")
        owner.execute("create table flagstone.t (a integer check (a > 0), b text)")
        owner.execute("alter table flagstone.t drop column a")
        owner.execute(f"grant select on flagstone.t to {APP}")
        owner.execute("create view flagstone.v as select from flagstone.t")
        owner.execute("do 'begin execute ''comment on table flagstone.t is null''; end'")
        owner.execute("drop table flagstone.t cascade")
        owner.execute("reset application_name")
    applications = {row[0] for row in trail.rows("application", before)}
    kinds = {row[0] for row in trail.rows("object_type", before)}
    trail.admin.execute("create schema other; drop schema other")
    trail.admin.execute("create role passing; drop owned by passing; drop role passing")

    roles = set(trail.rows("session_role, acting_role", before))
    changes = trail.rows("tag, object_type, object, is_direct", before)
    superuser = trail.admin.info.user
    assert applications == {"by hand"}
    # Neither the row types of a table nor its TOAST table are recorded.
    assert kinds == {"table", "table column", "table constraint", "TABLE", "view", "rule"}
    assert roles == {(MIGRATOR, OWNER), (superuser, superuser)}
    for expected in (
        ("CREATE TABLE", "table", "flagstone.t", True),
        ("ALTER TABLE", "table", "flagstone.t", True),
        ("ALTER TABLE", "table column", "flagstone.t.a", True),
        ("ALTER TABLE", "table constraint", "t_a_check on flagstone.t", False),
        ("GRANT", "TABLE", None, True),
        ("CREATE VIEW", "view", "flagstone.v", True),
        ("COMMENT", "table", "flagstone.t", True),
        ("DROP TABLE", "table", "flagstone.t", True),
        ("DROP TABLE", "view", "flagstone.v", False),
        ("CREATE SCHEMA", "schema", "other", True),
        ("DROP SCHEMA", "schema", "other", True),
        ("DROP OWNED", None, None, True),
    ):
        assert expected in changes
    texts = {row[0]: row[1] for row in trail.rows("tag, statement", before)}
    assert texts["GRANT"] == f"grant select on flagstone.t to {APP}"
    assert texts["COMMENT"] == "do ..."


def test_recorded_statement_has_no_secret(trail: Trail) -> None:
    before = trail.last()
    for statement in (
        f"create role canary password '{_CANARY}'; create table public.c1 (a integer)",
        f"create table public.c2 (a text default $${_CANARY}$$)",
        f"create table public.c3 (a integer) /* {_CANARY} */",
        f"create table public.c4 (a integer) -- {_CANARY}",
        f"do $$ begin create table public.c5 (a text default '{_CANARY}'); end $$",
        f"/* {_CANARY} */ create table public.c6 (a integer)",
        f"create table public.c7 (a text default U&'{_CANARY}', b text default E'{_CANARY}')",
        "create foreign data wrapper canary",
        f"create server canary foreign data wrapper canary options (password '{_CANARY}')",
        f"create user mapping for current_user server canary options (password '{_CANARY}')",
        "drop foreign data wrapper canary cascade",
        f"create subscription c connection 'user={_CANARY}' publication p with (connect = false)",
        "alter subscription c set (slot_name = none); drop subscription c",
        "drop table public.c1, public.c2, public.c3, public.c4, public.c5, public.c6, public.c7",
        "drop role canary",
        # However long the statement is, the row stays within its limits.
        f"create table public.{'c' * 63} ({', '.join(f'c{n} integer' for n in range(1000))})",
        f"drop table public.{'c' * 63}",
    ):
        trail.admin.execute(statement.encode())

    rows = trail.rows("schema_audit::text, length(statement)", before)
    tags = {row[0] for row in trail.rows("tag", before)}
    assert {"CREATE USER MAPPING", "CREATE SERVER", "CREATE SUBSCRIPTION"} <= tags
    assert not [row for row in rows if _CANARY in str(row[0])]
    assert max(int(str(row[1])) for row in rows) == 1027


def test_temporary_table_is_not_recorded(trail: Trail) -> None:
    before = trail.last()
    trail.admin.execute("create temporary table passing (a integer); drop table passing")

    assert trail.last() == before


def test_change_that_cannot_be_recorded_is_refused(trail: Trail) -> None:
    before = trail.last()
    trail.admin.execute("alter event trigger flagstone_ddl_command_end disable")
    trail.admin.execute(f"alter table {_AUDIT} rename to away".encode())
    trail.admin.execute("alter event trigger flagstone_ddl_command_end enable always")

    with (
        trail.owner() as owner,
        pytest.raises(
            psycopg.errors.UndefinedTable, match="refused: the schema audit cannot record this"
        ),
    ):
        owner.execute("create table flagstone.t (a integer)")
    table = trail.admin.execute("select to_regclass('flagstone.t')").fetchone()
    trail.admin.execute("alter event trigger flagstone_ddl_command_end disable")
    trail.admin.execute("alter table flagstone_audit.away rename to schema_audit")
    trail.admin.execute("alter event trigger flagstone_ddl_command_end enable always")

    assert table == (None,)
    assert trail.last() == before


@pytest.mark.parametrize("statement", _BREAKING)
def test_broken_recording_names_the_problem(trail: Trail, statement: str) -> None:
    with trail.admin.transaction(force_rollback=True):
        trail.admin.execute(statement.encode())
        broken = read_recording(trail.admin)
    whole = read_recording(trail.admin)

    assert broken.status is RecordingStatus.BROKEN
    assert _BREAKING[statement] in (broken.reason or "")
    assert (whole.status, whole.reason) == (RecordingStatus.RECORDING, None)


async def test_provisioning_repairs_the_recording_and_records_it(trail: Trail) -> None:
    before = trail.last()
    for statement, reason in _BREAKING.items():
        # Another test breaks each alone. These can be combined and repaired.
        if not statement.startswith("drop") and not any(
            part in f"{statement} {reason}"
            for part in ("event trigger", "record_ddl", "the columns")
        ):
            trail.admin.execute(statement.encode())
    trail.admin.execute(f"drop function {_FUNCTION} cascade".encode())
    broken = await trail.inspect()

    # The setting must affect neither what is created nor the check of it.
    trail.admin.execute("alter database trail set quote_all_identifiers = on")
    trail.provisioner.provision()
    repaired = await trail.inspect()
    with trail.owner() as owner:
        refused = [_refused(owner, statement) for statement in _TAMPERING]
    repairs = [row for row in trail.rows("tag, object", before) if row[0] == "REPAIR"]
    repaired_at = trail.last()
    trail.provisioner.provision()
    unrepaired_at = trail.last()
    trail.admin.execute("alter database trail reset quote_all_identifiers")
    trail.admin.execute("drop role other; drop table public.child")

    assert broken.recording is RecordingStatus.BROKEN
    assert (repaired.recording, repaired.reason) == (RecordingStatus.RECORDING, None)
    assert all(refused)
    assert [row[1] for row in repairs] == [broken.reason]
    # A complete recording is not changed.
    assert unrepaired_at == repaired_at


@pytest.mark.slow
async def test_removed_recording_counts_as_broken(trail: Trail, folder: Path) -> None:
    trail.admin.execute("drop schema flagstone_audit cascade")
    gone = await trail.inspect()
    trail.provisioner.provision()
    again = await trail.inspect()
    trail.admin.execute("drop schema flagstone_audit cascade")
    runner = trail.runner(folder)
    runner.migrate()
    runner.roll_back(1)
    remembered = await trail.inspect()
    runner = trail.runner()
    runner.accept("It shall not record any more", "operator:test")
    accepted = await trail.inspect()
    trail.provisioner.provision()
    runner.migrate()
    trail.admin.execute("drop schema flagstone_audit cascade")
    once_more = await trail.inspect()
    trail.provisioner.provision()

    assert (gone.recording, gone.drift) == (RecordingStatus.BROKEN, ())
    assert "its records have been removed" in (gone.reason or "")
    # A migration does not hide the removal. An operator may accept it, until the next record.
    assert [report.recording for report in (remembered, accepted, once_more)] == [
        RecordingStatus.BROKEN,
        RecordingStatus.UNAVAILABLE,
        RecordingStatus.BROKEN,
    ]
    assert again.recording is RecordingStatus.RECORDING


@contextmanager
def _unrecorded(trail: Trail) -> Iterator[Connection]:
    """Yield a superuser connection while the recording is disabled."""
    for name in _TRIGGERS:
        trail.admin.execute(f"alter event trigger {name} disable".encode())
    yield trail.admin
    for name in _TRIGGERS:
        trail.admin.execute(f"alter event trigger {name} enable always".encode())


# A manual change, the drift that it causes, and the statement that reverts it.
_BY_HAND = (
    (
        f"alter table flagstone.tokens add column extra text default '{_CANARY}'",
        "+ column flagstone.tokens.extra text default …",
        "alter table flagstone.tokens drop column extra",
    ),
    (
        "alter table flagstone.tokens alter name drop not null",
        "- column flagstone.tokens.name text not null",
        "alter table flagstone.tokens alter name set not null",
    ),
    (
        "create index by_hand on flagstone.tokens (name)",
        "+ index CREATE INDEX by_hand ON flagstone.tokens USING btree (name)",
        "drop index flagstone.by_hand",
    ),
    (
        f"grant delete on flagstone.access_log to {APP}",
        f"+ grant on table flagstone.access_log to {APP}: delete, insert, select",
        f"revoke delete on flagstone.access_log from {APP}",
    ),
    (
        f"grant update (name) on flagstone.tokens to {APP}",
        f"+ grant on column flagstone.tokens.name to {APP}: update",
        f"revoke update (name) on flagstone.tokens from {APP}",
    ),
    (
        "alter table flagstone.changes disable trigger all",
        "+ table constraint changes_change_set_fkey on flagstone.changes FOREIGN KEY",
        "alter table flagstone.changes enable trigger all",
    ),
    (
        "alter table flagstone.tokens enable row level security",
        f"+ table flagstone.tokens owner {OWNER} row security",
        "alter table flagstone.tokens disable row level security",
    ),
    (
        "create function flagstone.f(a integer) returns integer language sql as 'select 1'",
        "+ function flagstone.f(integer) owner",
        "drop function flagstone.f",
    ),
    (
        "create trigger t after truncate on flagstone.tokens execute function unique_key_recheck()",
        "+ trigger flagstone.tokens CREATE TRIGGER t AFTER TRUNCATE ON flagstone.tokens",
        "drop trigger t on flagstone.tokens",
    ),
    (
        "create rule r as on delete to flagstone.tokens do instead nothing",
        "+ rule flagstone.tokens CREATE RULE r AS",
        "drop rule r on flagstone.tokens",
    ),
    (
        f"create policy p on flagstone.tokens for select to {APP} using (true)",
        '+ policy {"cmd": "SELECT", "qual": "true", "roles": ["flagstone_app"], ',
        "drop policy p on flagstone.tokens",
    ),
    (
        "create statistics flagstone.s on id, name from flagstone.tokens",
        "+ statistics object flagstone.s",
        "drop statistics flagstone.s",
    ),
    (
        "create domain flagstone.d as text check (value <> '')",
        "+ type flagstone.d owner",
        "drop domain flagstone.d",
    ),
    (
        'create table flagstone."a\nb" ()',
        '+ table flagstone."a\\nb" owner',
        'drop table flagstone."a\nb"',
    ),
    (
        "alter table flagstone.flag_usage replica identity nothing",
        f"+ table flagstone.flag_usage owner {OWNER} replica identity n",
        "alter table flagstone.flag_usage replica identity default",
    ),
    (
        # A trigger of this mode never fires without replication.
        _FIRING.format("R"),
        "+ table constraint configurations_environment_fkey on flagstone.configurations FOREIGN",
        _FIRING.format("O"),
    ),
    (
        "create table public.child () inherits (flagstone.tokens)",
        "+ table public.child inherits flagstone.tokens",
        "drop table public.child",
    ),
    (
        "create publication p for table flagstone.data_keys",
        "+ publication p of data_keys",
        "drop publication p",
    ),
    (
        f"alter default privileges for role {OWNER} grant usage on types to {APP}",
        f"+ grant on default of T by {OWNER} everywhere to {APP}: usage",
        f"alter default privileges for role {OWNER} revoke usage on types from {APP}",
    ),
    (
        # No DDL does this. PostgreSQL adds no rows to such an index, so it enforces nothing.
        _READY.format("false"),
        "+ index CREATE UNIQUE INDEX access_log_pkey ON flagstone.access_log",
        _READY.format("true"),
    ),
    (
        "alter schema flagstone owner to current_user",
        "- schema flagstone owner flagstone_owner",
        f"alter schema flagstone owner to {OWNER}",
    ),
)


async def test_unrecorded_change_shows_as_drift(trail: Trail) -> None:
    with _unrecorded(trail) as superuser:
        before = trail.last()
        for statement, _, _ in _BY_HAND:
            superuser.execute(statement.encode())
        drifted = await trail.inspect()
        for _, _, revert in _BY_HAND:
            superuser.execute(revert.encode())
        assert trail.last() == before
    well = await trail.inspect()

    assert drifted.recording is RecordingStatus.BROKEN
    for _, expected, _ in _BY_HAND:
        assert [fact for fact in drifted.drift or () if fact.startswith(expected)], expected
    assert _CANARY not in str(drifted)
    assert "more" in (drifted.drift_summary or "")
    assert (well.drift, well.recording) == ((), RecordingStatus.RECORDING)


@pytest.mark.parametrize("body", ["begin atomic; select {}; end", "as 'select {}'"])
def test_changed_function_body_changes_the_fact(trail: Trail, body: str) -> None:
    if "atomic" in body and trail.admin.info.server_version < 140_000:
        pytest.skip("SQL-standard function bodies need version 14")
    facts = []
    with trail.admin.transaction(force_rollback=True):
        for number in (1, 2):
            definition = f"returns integer language sql {body.format(number)}"
            trail.admin.execute(f"create or replace function flagstone.f() {definition}".encode())
            facts.append(read_facts(trail.admin))

    assert sorted(fact[:20] for fact in differences(*facts)) == [
        "+ function flagstone",
        "- function flagstone",
    ]


def test_not_null_that_is_not_valid_is_a_fact(trail: Trail) -> None:
    if trail.admin.info.server_version < 180000:
        return
    before = read_facts(trail.admin)
    with trail.admin.transaction(force_rollback=True):
        trail.admin.execute("alter table flagstone.tokens alter name drop not null")
        trail.admin.execute("alter table flagstone.tokens add constraint n not null name not valid")
        after = read_facts(trail.admin)

    assert differences(before, after) == [
        "+ table constraint n on flagstone.tokens NOT NULL name NOT VALID"
    ]


def test_restored_dump_has_equal_facts(trail: Trail) -> None:
    rules = trail.admin.execute(
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
        "where connamespace = 'flagstone'::regnamespace and contype = 'c' and conrelid <> 0"
    ).fetchall()
    with trail.admin.transaction(force_rollback=True):
        before = read_facts(trail.admin)
        for table, name, rule in rules:
            trail.admin.execute(f"alter table {table} drop constraint {name}".encode())
            trail.admin.execute(f"alter table {table} add constraint {name} {rule}".encode())
        indexes = trail.admin.execute(
            "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
            "where indexrelid::regclass::text like 'flagstone.%' and not exists "
            "(select from pg_constraint where conindid = indexrelid)"
        ).fetchall()
        for index, definition in indexes:
            trail.admin.execute(f"drop index {index}; {definition}".encode())
        after = read_facts(trail.admin)

    assert rules
    assert indexes
    assert differences(before, after) == []


def test_every_role_and_session_reads_equal_facts(trail: Trail) -> None:
    trail.app.execute("set timezone = 'Asia/Kathmandu'; set datestyle = 'German'")
    trail.migrator.execute("set quote_all_identifiers = on; set search_path = flagstone")
    trail.migrator.execute("set standard_conforming_strings = off")
    trail.admin.execute("create domain flagstone.dotted as text check (value ~ E'a\\\\.b')")

    fingerprints = [fingerprint(read_facts(c)) for c in (trail.app, trail.migrator, trail.admin)]

    trail.admin.execute("drop domain flagstone.dotted")
    trail.app.execute("reset all")
    trail.migrator.execute("reset all")
    assert len(set(fingerprints)) == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the migrations, and add one."""
    copy = Path(shutil.copytree(FOLDER, tmp_path / "migrations"))
    name = "1999999900000-AddThing"
    head = "-- Expand: for a test.\n-- type: schema\n-- phase: core\n"
    (copy / f"{name}.sql").write_text(f"{head}create table thing (a integer);\n")
    (copy / f"{name}.rollback.sql").write_text("drop table thing;\n")
    return copy


def _stored(trail: Trail) -> list[tuple[object, ...]]:
    return trail.app.execute(
        "select action, drifted, fingerprint, message from schema_fingerprints order by id"
    ).fetchall()


async def test_migration_stores_the_drift_before_it(trail: Trail, folder: Path) -> None:
    runner = trail.runner(folder)
    first = _stored(trail)[-1][2]
    runner.migrate()
    up = _stored(trail)[-1][2]
    runner.roll_back(1)
    down = _stored(trail)[-1][2]
    trail.admin.execute("create index by_hand on flagstone.tokens (name)")
    nothing = trail.runner()
    nothing.migrate()
    count = len(_stored(trail))
    drifted = await trail.inspect()
    runner.migrate()
    over = _stored(trail)[-1]
    after = await trail.inspect()
    trail.admin.execute("drop index flagstone.by_hand")
    runner.roll_back(1)
    again = _stored(trail)[-1][2]

    index = "index CREATE INDEX by_hand ON flagstone.tokens USING btree (name)"
    assert first == down == again != up
    # A run without pending migrations does not store the schema.
    assert count == len(_stored(trail)) - 2
    assert drifted.drift == (f"+ {index}",)
    assert over[:2] == ("migrated", [f"+ {index}"])
    assert after.drift == ()
    log = trail.app.execute(
        "select actor, resource, detail from access_log where event = 'schema_change'"
    ).fetchall()
    assert log[-2:] == [("system:migrator", "1999999900000-AddThing", "rolled back by tests")] * 2


async def test_run_after_a_killed_run_stores_the_schema(trail: Trail, folder: Path) -> None:
    trail.runner(folder).migrate()
    trail.admin.execute("delete from flagstone.schema_fingerprints where migration like '1999%'")
    incomplete = await trail.inspect()
    trail.runner(folder).migrate()
    after = await trail.inspect()
    trail.runner(folder).roll_back(1)

    assert incomplete.drift
    assert after.drift == ()
    assert [redact(str(fact)) for fact in cast("list[str]", _stored(trail)[-2][1])] == [
        *incomplete.drift
    ]


async def test_repaired_right_is_logged(trail: Trail) -> None:
    trail.admin.execute(f"grant delete on flagstone.access_log to {APP}")
    drifted = await trail.inspect()
    with capture_logs() as logged:
        trail.runner().migrate()
    well = await trail.inspect()

    assert len(drifted.drift or ()) == 2
    assert well.drift == ()
    assert [line for line in logged if line["event"] == "privileges_repaired"] == [
        {
            "event": "privileges_repaired",
            "grants": [f"{APP} access_log delete"],
            "log_level": "warning",
        }
    ]


@pytest.mark.parametrize(
    ("wording", "is_stored_again"), [("wording 0", True), ("wording 9", False)]
)
async def test_other_wording_is_no_drift(
    trail: Trail, wording: str, *, is_stored_again: bool
) -> None:
    trail.admin.execute(
        "update flagstone.schema_fingerprints set fingerprint = sha256(''), "
        "facts = array_replace(facts, %s, %s)",
        [WORDING, wording],
    )
    other = await trail.inspect()
    count = len(_stored(trail))
    trail.runner().migrate()
    migrated = await trail.inspect()
    stored = _stored(trail)
    trail.runner().accept("As this release says it", "operator:test")
    accepted = await trail.inspect()

    unknown = "another release stored the expected schema in another wording"
    assert (other.drift, other.unknown) == (None, unknown)
    # During a rolling update two releases run. The older one must not store its schema.
    assert (migrated.drift, len(stored) - count) == (((), 1) if is_stored_again else (None, 0))
    assert accepted.drift == ()


async def test_removed_expected_schema_is_not_a_match(
    trail: Trail,
) -> None:
    trail.admin.execute("truncate flagstone.schema_fingerprints")
    gone = await trail.inspect()
    with capture_logs() as logged:
        trail.runner().migrate()
    again = await trail.inspect()

    assert gone.drift is None
    assert (gone.unknown or "").startswith("no expected schema is stored")
    assert "schema_not_compared" in {line["event"] for line in logged}
    assert again.drift == ()


async def test_rights_of_another_release_hide_no_drift(trail: Trail) -> None:
    trail.admin.execute(f"revoke insert on flagstone.access_log from {APP}")
    trail.runner().accept("As an older release made it", "operator:test")
    trail.admin.execute("create index by_hand on flagstone.tokens (name)")
    trail.runner().migrate()
    granted = await trail.inspect()
    stored = _stored(trail)[-1]
    trail.admin.execute("drop index flagstone.by_hand")

    index = "+ index CREATE INDEX by_hand ON flagstone.tokens USING btree (name)"
    assert granted.drift == (index,)
    assert stored[:2] == ("migrated", [index])


async def test_default_rights_granted_later_are_no_drift(trail: Trail) -> None:
    by_owner = f"alter default privileges for role {OWNER}"
    for default in (
        f"in schema flagstone revoke all on tables from {BACKUP}",
        f"in schema flagstone revoke all on sequences from {BACKUP}",
        "grant execute on functions to public",
    ):
        trail.admin.execute(f"{by_owner} {default}".encode())
    trail.runner().accept("As an older release made it", "operator:test")
    trail.provisioner.provision()
    seen = await trail.inspect()
    trail.runner().accept("As this one does", "operator:test")

    assert seen.drift == ()


async def test_manual_change_can_be_accepted_with_a_reason(trail: Trail) -> None:
    runner = trail.runner()
    trail.admin.execute("create index by_hand on flagstone.tokens (name)")
    with pytest.raises(MigrationError, match="--message: must be 1 to 240 printable characters"):
        runner.accept("", "operator:test")

    differed = runner.accept("Found missing", "operator:test")
    again = runner.accept("Found missing", "operator:test")
    seen = await trail.inspect()
    stored = _stored(trail)
    trail.admin.execute("drop index flagstone.by_hand")
    runner.accept("Not needed", "operator:test")

    assert len(differed) == 1
    assert again == []
    assert seen.drift == ()
    assert stored[-1][:2] == ("accepted", differed)
    assert stored[-1][3] == "Found missing"
    log = trail.app.execute("select actor, detail from access_log order by id").fetchall()
    assert ("operator:test", "accepted: Found missing") in log
    with trail.server.admin(_NAME) as other:
        other.execute("select pg_advisory_lock(%s)", [0x666C6167])
        with pytest.raises(Exception, match="A migration is running"):
            await trail.inspect()


@pytest.mark.slow
def test_two_major_versions_print_equal_facts(embedded: Server, plain_server: FullServer) -> None:
    if version_of(plain_server) == version_of(embedded):
        pytest.skip("both servers are of the same version")
    facts = []
    for database_server in (embedded, plain_server):
        name = database_server.create_database("words")
        Migrator(
            target=database_server.target(MIGRATOR, name),
            settings=database_server.provisioner.settings,
            instance="tests",
        ).migrate()
        with database_server.admin(name) as connection:
            facts.append(read_facts(connection))
        with database_server.admin() as connection:
            connection.execute("drop database words")

    assert [redact(fact) for fact in differences(*facts)] == []
