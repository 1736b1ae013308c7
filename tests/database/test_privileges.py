"""Test that each role has exactly its rights, and that a role with more is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from app.database import Database
from app.database.catalog.ddl_triggers import read_recording
from app.database.catalog.recording import RecordingStatus
from app.database.client.drivers import libpq_arguments
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, BACKUP, LOGIN_ROLES, MIGRATOR, OWNER, READONLY
from app.database.roles.check import OverprivilegedError, check_role
from app.database.roles.credentials import before_provision
from app.database.roles.privileges import grant_privileges
from app.database.roles.provision import Provisioner, ProvisionError
from app.database.roles.rights import SEQUENCES, TABLES
from app.settings import Secret, Settings, SettingsError, Target, Tier, load
from tests.conftest import Server, started
from tests.database.full_postgres import open_folder as unprivileged_folder

Connection = psycopg.Connection[tuple[object, ...]]

# One statement per right. With the right, it changes nothing or violates a constraint.
_VERBS = {
    "select": "select count(*) from flagstone.{table}",
    "insert": "insert into flagstone.{table} default values",
    "update": "update flagstone.{table} set {column} = default where false",
    "delete": "delete from flagstone.{table} where false",
}
_NEVER = {
    "truncate": "truncate flagstone.{table} cascade",
    "drop": "drop table flagstone.{table} cascade",
    "alter": "alter table flagstone.{table} add column extra integer",
    "index": "create index on flagstone.{table} ({column})",
    "trigger": "alter table flagstone.{table} disable trigger all",
    "policy": "create policy p on flagstone.{table}",
    "own": "alter table flagstone.{table} owner to current_user",
}
_DEFINITIONS = (
    "create table flagstone.t (a integer)",
    "create table public.t (a integer)",
    "create view flagstone.v as select 1",
    "create function flagstone.f() returns integer language sql as 'select 1'",
    "create type flagstone.t as enum ('a')",
    "alter type flagstone.environment_tier add value 'other'",
    "alter sequence flagstone.health_check_id_seq restart",
    "select setval('flagstone.health_check_id_seq', 1)",
    "create schema other",
    "drop schema flagstone cascade",
    f"set role {OWNER}",
    f"set role {MIGRATOR}",
)
_SUPERUSER = (
    "create role r",
    f"alter role {APP} superuser",
    f"alter role {READONLY} password 'x'",
    "create database d",
    "alter system set fsync = off",
    "select rolpassword from pg_authid",
    "select pg_read_file('PG_VERSION')",
    "copy (select 1) to program 'true'",
    "copy (select 1) to '/tmp/x'",
    "set session authorization postgres",
    "set role postgres",
    "create event trigger e on ddl_command_end execute function f()",
    "set session_replication_role = replica",
    "checkpoint",
)


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[str]:
    """Yield a migrated database that tests may damage."""
    yield server.create_database("privileges", template="flagstone")
    server.drop_database("privileges")


@contextmanager
def _as(server: Server, role: str, database: str) -> Iterator[Connection]:
    target = server.target(role, database)
    with psycopg.connect(
        **libpq_arguments(target, server.provisioner.settings), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture(scope="module")
def connections(server: Server, database: str) -> Iterator[dict[str, Connection]]:
    with (
        _as(server, APP, database) as app,
        _as(server, READONLY, database) as readonly,
        _as(server, BACKUP, database) as backup,
        _as(server, MIGRATOR, database) as migrator,
    ):
        yield {APP: app, READONLY: readonly, BACKUP: backup, MIGRATOR: migrator}


def _is_allowed(connection: Connection, statement: str) -> bool:
    """Return whether the role may run the statement. Rolls the statement back."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.IntegrityError:
        return True
    return True


def _columns(connection: Connection) -> dict[str, str]:
    """Return the first column of each table."""
    rows = connection.execute(
        "select relname, attname from pg_attribute join pg_class on pg_class.oid = attrelid "
        "where relnamespace = 'flagstone'::regnamespace and relkind = 'r' and attnum = 1"
    )
    return {str(table): f'"{column}"' for table, column in rows}


def _tables(connection: Connection, kind: str = "r") -> set[str]:
    rows = connection.execute(
        "select relname from pg_class "
        "where relnamespace = 'flagstone'::regnamespace and relkind = %s",
        [kind],
    )
    return {str(row[0]) for row in rows}


def test_every_table_has_listed_rights(server: Server, database: str) -> None:
    with server.admin(database) as connection:
        assert _tables(connection) == set(TABLES)
        assert _tables(connection, "v") | _tables(connection, "m") == set()


def test_every_used_sequence_is_listed(server: Server, database: str) -> None:
    """An insert needs usage of the sequence of a serial column, but not of an identity column."""
    with server.admin(database) as connection:
        rows = connection.execute(
            "select objid::regclass::text, refobjid::regclass::text from pg_depend "
            "join pg_class on pg_class.oid = objid and relkind = 'S' and deptype = 'a' "
            "where relnamespace = 'flagstone'::regnamespace and refclassid = 'pg_class'::regclass"
        ).fetchall()
    used = {
        str(sequence).rpartition(".")[2]
        for sequence, table in rows
        if "insert" in TABLES[str(table).rpartition(".")[2]]
    }

    assert used == set(SEQUENCES)


@pytest.mark.parametrize("role", [APP, READONLY, BACKUP])
def test_role_has_exactly_its_rights(
    server: Server, database: str, connections: dict[str, Connection], role: str
) -> None:
    with server.admin(database) as connection:
        columns = _columns(connection)

    rights = {
        table: {
            verb
            for verb, statement in (_VERBS | _NEVER).items()
            if _is_allowed(connections[role], statement.format(table=table, column=columns[table]))
        }
        for table in TABLES
    }

    assert rights == {
        table: set(of_app.split(", ")) if role == APP else {"select"}
        for table, of_app in TABLES.items()
    }


@pytest.mark.parametrize("table", ["change_sets", "changes", "access_log"])
def test_history_is_append_only(connections: dict[str, Connection], table: str) -> None:
    assert TABLES[table] == "select, insert"
    merge = (
        f"merge into flagstone.{table} as t using (values (1)) as v (a) on false "
        "when matched then delete"
    )
    for statement in (
        f"update flagstone.{table} set environment = ''",  # noqa: S608
        f"delete from flagstone.{table}",  # noqa: S608
        f"truncate flagstone.{table}",
        merge,
        f"lock table flagstone.{table} in access exclusive mode",
    ):
        if statement == merge and connections[APP].info.server_version < 150_000:
            continue
        assert not _is_allowed(connections[APP], statement), statement
        # The migrator has no rights until it becomes the owner.
        assert not _is_allowed(connections[MIGRATOR], statement), statement


@pytest.mark.parametrize("role", [APP, READONLY, BACKUP])
def test_only_the_service_can_take_its_locks(connections: dict[str, Connection], role: str) -> None:
    """Otherwise who may only read could keep every change of access waiting."""
    read = "select name from flagstone.locks"
    taken = [
        strength
        for strength in ("update", "no key update", "share", "key share")
        if _is_allowed(connections[role], f"{read} for {strength}")
    ]

    assert bool(taken) == (role == APP)


@pytest.mark.parametrize("role", [APP, READONLY, BACKUP])
def test_row_role_cannot_change_the_schema(connections: dict[str, Connection], role: str) -> None:
    allowed = [text for text in _DEFINITIONS if _is_allowed(connections[role], text)]

    assert allowed == []


@pytest.mark.parametrize("role", [APP, MIGRATOR, "owner"])
def test_no_role_has_superuser_powers(connections: dict[str, Connection], role: str) -> None:
    connection = connections[MIGRATOR if role == "owner" else role]
    allowed = []

    for statement in _SUPERUSER:
        # Not in a transaction: some of these statements fail in any transaction.
        if role == "owner":
            connection.execute(f"set role {OWNER}")
        try:
            connection.execute(statement.encode())
            allowed.append(statement)
        except psycopg.errors.InsufficientPrivilege:
            pass
        finally:
            connection.execute("reset role")

    assert allowed == []


def test_migrator_changes_the_schema_as_the_owner_only(connections: dict[str, Connection]) -> None:
    migrator = connections[MIGRATOR]
    statement = b"create table flagstone.t (a integer)"

    by_itself = _is_allowed(migrator, statement.decode())
    with migrator.transaction(force_rollback=True):
        migrator.execute(f"set local role {OWNER}")
        migrator.execute(statement)
        owner = migrator.execute(
            "select relowner::regrole::text from pg_class where oid = 'flagstone.t'::regclass"
        ).fetchone()

    assert not by_itself
    assert owner == (OWNER,)


def test_unlisted_table_is_readable_by_backup_only(server: Server, database: str) -> None:
    """pg_dump fails completely if it may not read one of the tables."""
    with server.admin(database) as connection, connection.transaction(force_rollback=True):
        connection.execute(
            f"set local role {OWNER}; "
            "create table flagstone.forgotten (a serial); "
            "create function flagstone.forgotten() returns integer language sql as 'select 1'"
        )
        grant_privileges(connection)
        granted = {
            role: connection.execute(
                "select has_table_privilege(%(role)s, 'flagstone.forgotten', 'select'), "
                "has_sequence_privilege(%(role)s, 'flagstone.forgotten_a_seq', 'select'), "
                "has_function_privilege(%(role)s, 'flagstone.forgotten()', 'execute')",
                {"role": role},
            ).fetchone()
            for role in (APP, READONLY, BACKUP)
        }
        # Count grants to the role itself: predefined roles of newer servers may read all tables.
        by_grant = connection.execute(
            "select count(*) from pg_class, aclexplode(relacl) as acl "
            "where relname like 'forgotten%%' and acl.grantee = %s::regrole "
            "and acl.privilege_type = 'SELECT'",
            [BACKUP],
        ).fetchone()

    assert granted == {
        APP: (False, False, False),
        # A sequence contains only a number, and a dump by this role needs it.
        READONLY: (False, True, False),
        BACKUP: (True, True, False),
    }
    assert by_grant == (2,)


@pytest.mark.parametrize("role", LOGIN_ROLES)
def test_login_role_has_no_powerful_attribute(server: Server, role: str) -> None:
    with server.admin() as connection:
        row = connection.execute(
            "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, "
            "rolcanlogin from pg_roles where rolname = %s",
            [role],
        ).fetchone()

    assert row == (False, False, False, False, False, True)


def test_owner_cannot_log_in(server: Server) -> None:
    with server.admin() as connection:
        row = connection.execute(
            "select rolcanlogin, rolsuper from pg_roles where rolname = %s", [OWNER]
        ).fetchone()

    assert row == (False, False)


@pytest.mark.parametrize("role", LOGIN_ROLES)
def test_no_role_may_create_schemas_or_temporary_tables(server: Server, role: str) -> None:
    """A function that omits the schema would read a temporary table instead of ours."""
    with server.admin() as connection:
        row = connection.execute(
            "select has_database_privilege(%(role)s, 'flagstone', 'create'), "
            "has_database_privilege(%(role)s, 'flagstone', 'temporary'), "
            "has_database_privilege(%(role)s, 'flagstone', 'connect')",
            {"role": role},
        ).fetchone()

    assert row == (False, False, True)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (
            APP,
            {
                *("search_path=flagstone, pg_temp", "statement_timeout=5s", "lock_timeout=2s"),
                "client_connection_check_interval=1s",
            },
        ),
        (MIGRATOR, {"search_path=flagstone, pg_temp", "client_connection_check_interval=1s"}),
        (READONLY, {"search_path=flagstone, pg_temp", "default_transaction_read_only=on"}),
        (BACKUP, {"search_path=flagstone, pg_temp", "default_transaction_read_only=on"}),
    ],
)
def test_role_has_its_session_limits(server: Server, role: str, expected: set[str]) -> None:
    """Behind a pooler, only the role can set them."""
    with server.admin() as connection:
        row = connection.execute(
            "select setconfig from pg_db_role_setting "
            "where setrole = %s::regrole and setdatabase = "
            "(select oid from pg_database where datname = 'flagstone')",
            [role],
        ).fetchone()

        if connection.info.server_version < 140_000:
            expected = expected - {"client_connection_check_interval=1s"}

    assert row is not None
    assert isinstance(row[0], list)
    assert expected <= set(row[0])


async def _check(target: Target, settings: Settings, tier: Tier) -> None:
    database = Database(settings.database)
    await database.open(target)
    try:
        await check_role(database, tier)
    finally:
        await database.close()


@pytest.mark.parametrize("tier", [Tier.STAGING, Tier.PRODUCTION])
async def test_superuser_is_refused_in_strict_tiers(
    server: Server, settings: Settings, database: str, tier: Tier
) -> None:
    with pytest.raises(OverprivilegedError, match=f"is a superuser, which {tier} refuses"):
        await _check(server.superuser.named(database), settings, tier)


@pytest.mark.parametrize("tier", [Tier.LOCAL, Tier.DEVELOPMENT])
async def test_superuser_is_accepted_in_other_tiers(
    server: Server, settings: Settings, database: str, tier: Tier
) -> None:
    await _check(server.superuser.named(database), settings, tier)


@pytest.mark.parametrize("tier", Tier)
async def test_app_role_is_accepted_in_every_tier(
    server: Server, settings: Settings, database: str, tier: Tier
) -> None:
    await _check(server.target(APP, database), settings, tier)


@pytest.mark.parametrize("tier", [Tier.STAGING, Tier.PRODUCTION])
async def test_migrator_is_refused_as_the_app_role(
    server: Server, settings: Settings, database: str, tier: Tier
) -> None:
    """It inherits no rights, but `set role` makes it the owner of every table."""
    with pytest.raises(OverprivilegedError):
        await _check(server.target(MIGRATOR, database), settings, tier)


@pytest.fixture(scope="module")
def spare_server() -> Iterator[Target]:
    """Start a server whose roles the tests may change."""
    with unprivileged_folder("flagstone-roles-") as folder, started(folder) as superuser:
        yield superuser


@pytest.fixture
def provisioner(spare_server: Target, tmp_path: Path) -> Iterator[Provisioner]:
    """Yield a provisioner of a server without our roles."""
    provisioner = Provisioner(
        admin=spare_server, settings=load({}).database, folder=tmp_path / "credentials"
    )
    _remove_roles(provisioner)
    yield provisioner
    _remove_roles(provisioner)


def _remove_roles(provisioner: Provisioner) -> None:
    admin = libpq_arguments(provisioner.admin, provisioner.settings)
    with psycopg.connect(**admin, autocommit=True) as connection:
        connection.execute("drop database if exists flagstone with (force)")
        rows = connection.execute("select rolname from pg_roles where rolname like 'flagstone%'")
        for (role,) in rows.fetchall():
            connection.execute(f'drop owned by "{role}"; drop role "{role}"'.encode())


def _can_connect(provisioner: Provisioner, target: Target) -> bool:
    try:
        psycopg.connect(**libpq_arguments(target, provisioner.settings)).close()
    except psycopg.OperationalError:
        return False
    return True


def test_first_provisioning_writes_a_url_for_each_role(provisioner: Provisioner) -> None:
    files = provisioner.provision()

    assert set(files) == set(LOGIN_ROLES)
    assert provisioner.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert all(_can_connect(provisioner, target) for target in provisioner.targets().values())


def test_passwords_differ_and_are_stored_as_scram(provisioner: Provisioner) -> None:
    provisioner.provision()

    passwords = [
        target.password.reveal() for target in provisioner.targets().values() if target.password
    ]
    admin = libpq_arguments(provisioner.admin, provisioner.settings)
    with psycopg.connect(**admin) as connection:
        rows = connection.execute(
            "select rolpassword from pg_authid where rolname = any(%s)", [list(LOGIN_ROLES)]
        ).fetchall()
    assert len(set(passwords)) == len(LOGIN_ROLES)
    assert all(len(password) >= 32 for password in passwords)
    assert all(str(row[0]).startswith("SCRAM-SHA-256$4096:") for row in rows)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("postgresql://flagstone_app:short@h/flagstone", "the password must have at least 16"),
        ("postgresql://flagstone_app@h/flagstone", "the password must have at least 16"),
        ("postgresql://u:thisisnotapassword@h/d", "a well-known password"),
        ("postgresql://u:flagstone_app-2026@h/flagstone_app", "consist of the name of the user"),
        (
            "postgresql://u:kX9%23mQ2vLp7Rt4z%C3%A4@h/d",
            "must consist of printable ASCII characters",
        ),
        ("postgresql://u:kX9mQ2vLp7Rt4z\u00e4\u00e4@h/d", "must be ASCII"),
        ("kX9mQ2vLp7Rt4z", "must start with postgresql://"),
    ],
)
def test_weak_chosen_password_is_refused_before_connecting(
    provisioner: Provisioner, text: str, rule: str
) -> None:
    provisioner.folder.mkdir(mode=0o700)
    file = provisioner.folder / "app.url"
    file.write_text(text, encoding="utf-8")
    unreachable = replace(
        provisioner, admin=replace(provisioner.admin, hosts=(("/unreachable", 1),))
    )

    with pytest.raises(ProvisionError) as refusal:
        unreachable.provision()

    assert f"{file}" in str(refusal.value)
    assert rule in str(refusal.value)
    assert not any(part in str(refusal.value) for part in ("short@", "thisisnota", "kX9"))


def test_strong_chosen_password_is_accepted(provisioner: Provisioner) -> None:
    provisioner.folder.mkdir(mode=0o700)
    ((folder, port),) = provisioner.admin.hosts
    host = quote(folder, safe="")
    file = provisioner.folder / "app.url"
    file.write_text(f"postgresql://{APP}:kX9%23mQ2vLp7%26Rt4z@{host}:{port}/flagstone\n")

    provisioner.provision()

    target = provisioner.targets()[APP]
    assert target.password == Secret("kX9#mQ2vLp7&Rt4z")
    assert _can_connect(provisioner, target)


def test_repeated_provisioning_keeps_the_passwords(provisioner: Provisioner) -> None:
    provisioner.provision()
    before = provisioner.targets()
    provisioner.provision()
    provisioner.provision(reset_passwords=True)

    assert provisioner.targets() == before
    assert all(_can_connect(provisioner, target) for target in before.values())


def test_concurrent_provisioners_wait_for_each_other(provisioner: Provisioner) -> None:
    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(lambda _: provisioner.provision(), range(3)))

    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert all(_can_connect(provisioner, target) for target in provisioner.targets().values())


def test_role_with_unknown_password_is_not_changed(
    provisioner: Provisioner, tmp_path: Path
) -> None:
    provisioner.provision()
    other_folder = replace(provisioner, folder=tmp_path / "other_folder")

    with pytest.raises(ProvisionError, match=f"{APP}.*exist already.*--reset-passwords"):
        other_folder.provision()

    assert list(other_folder.folder.glob("*")) == []
    assert all(_can_connect(provisioner, target) for target in provisioner.targets().values())


def test_role_without_its_file_is_named(provisioner: Provisioner) -> None:
    files = provisioner.provision()
    files[READONLY].unlink()

    with pytest.raises(ProvisionError) as refusal:
        provisioner.provision()

    named = {role for role in LOGIN_ROLES if role in str(refusal.value)}
    assert named == {READONLY}


def test_reset_passwords_replaces_lost_ones(provisioner: Provisioner, tmp_path: Path) -> None:
    provisioner.provision()
    old = provisioner.targets()
    other_folder = replace(provisioner, folder=tmp_path / "other_folder")
    other_folder.provision(reset_passwords=True)

    new = other_folder.targets()
    assert all(_can_connect(provisioner, target) for target in new.values())
    assert not any(_can_connect(provisioner, target) for target in old.values())


def test_interrupted_provisioning_is_completed(provisioner: Provisioner) -> None:
    """The interruption comes between files and roles, or between roles and database."""
    provisioner.provision()
    before = provisioner.targets()
    _remove_roles(provisioner)
    provisioner.provision()

    assert provisioner.targets() == before
    assert all(_can_connect(provisioner, target) for target in before.values())


def test_settings_may_name_files_before_provisioning(tmp_path: Path) -> None:
    admin = "postgresql://admin:rowan7-kestrel-Plume42@db.example.org/postgres"
    (tmp_path / "admin.url").write_text(admin)
    named = {
        "TIER": "staging",
        "TOKEN_KEY": "k" * 32,
        "SEED_ON_START": "false",
        "DATABASE_ADMIN_URL_FILE": str(tmp_path / "admin.url"),
        "DATABASE_URL_FILE": str(tmp_path / "credentials/app.url"),
        "DATABASE_MIGRATOR_URL_FILE": str(tmp_path / "credentials/migrator.url"),
        "DATABASE_BACKUP_URL_FILE": str(tmp_path / "other_folder/backup.url"),
    }

    with pytest.raises(SettingsError) as refusal:
        load(before_provision(named, tmp_path / "credentials"))
    del named["DATABASE_BACKUP_URL_FILE"]
    admin_target = load(before_provision(named, tmp_path / "credentials")).database.admin

    # Provisioning does not create this file, so it must exist.
    assert [name for name, _ in refusal.value.problems] == ["DATABASE_BACKUP_URL"]
    assert admin_target is not None
    assert admin_target.user == "admin"


@pytest.fixture
def managed(provisioner: Provisioner) -> Provisioner:
    """Provision without a superuser, as on a managed server."""
    admin = libpq_arguments(provisioner.admin, provisioner.settings)
    with psycopg.connect(**admin, autocommit=True) as connection:
        connection.execute("drop role if exists manager")
        connection.execute("create role manager login password 'm' createrole createdb")
        if connection.info.server_version >= 140_000:
            connection.execute("grant pg_read_all_data to manager with admin option")
    return replace(provisioner, admin=provisioner.admin.as_role("manager", Secret("m")))


@pytest.fixture
def open_public(provisioner: Provisioner) -> Iterator[None]:
    """Give new databases the schema public of servers before 15, in which all may create."""
    admin = libpq_arguments(provisioner.admin.named("template1"), provisioner.settings)
    with psycopg.connect(**admin, autocommit=True) as connection:
        row = connection.execute(
            "select nspowner::regrole::text from pg_namespace where nspname = 'public'"
        ).fetchone()
        assert row is not None
        connection.execute("alter schema public owner to postgres")
        connection.execute("grant create on schema public to public")
    yield
    with psycopg.connect(**admin, autocommit=True) as connection:
        connection.execute(f"alter schema public owner to {row[0]}")
        if connection.info.server_version >= 150_000:
            connection.execute("revoke create on schema public from public")


def _version(provisioner: Provisioner) -> int:
    admin = libpq_arguments(provisioner.admin, provisioner.settings)
    with psycopg.connect(**admin) as connection:
        return connection.info.server_version // 10_000


def _as_superuser(provisioner: Provisioner, statement: str) -> None:
    admin = libpq_arguments(provisioner.admin.named("flagstone"), provisioner.settings)
    with psycopg.connect(**admin, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.mark.usefixtures("open_public")
async def test_public_schema_of_another_owner_is_reported(
    provisioner: Provisioner, managed: Provisioner, settings: Settings
) -> None:
    """PostgreSQL only warns if a role that is not the owner revokes."""
    with pytest.raises(ProvisionError) as refusal:
        managed.provision()
    app = managed.targets()[APP]
    with pytest.raises(OverprivilegedError) as refused:
        await _check(app, settings, Tier.STAGING)
    statement = "revoke create on schema public from public"
    _as_superuser(provisioner, statement)
    managed.provision()
    await _check(app, settings, Tier.STAGING)

    assert f"in the database flagstone: {statement}" in str(refusal.value)
    assert "Its owner postgres or a superuser must run this" in str(refusal.value)
    assert statement in str(refused.value)
    assert "use the app role" not in str(refused.value)


def test_administrator_without_superuser_can_provision(
    provisioner: Provisioner, managed: Provisioner
) -> None:
    if _version(provisioner) < 15:
        with pytest.raises(ProvisionError, match="schema public"):
            managed.provision()
        _as_superuser(provisioner, "revoke create on schema public from public")

    managed.provision()
    managed.provision()

    target = managed.targets()[MIGRATOR]
    assert Migrator(target=target, settings=managed.settings, instance="tests").migrate()
    # Without a superuser there are no event triggers, so nothing is recorded.
    with psycopg.connect(**libpq_arguments(target, managed.settings)) as connection:
        recording = read_recording(connection)
    assert recording.status is RecordingStatus.UNAVAILABLE
    assert "refused event triggers to `database provision`" in (recording.reason or "")


async def test_owner_of_the_tables_is_refused_in_strict_tiers(
    provisioner: Provisioner, settings: Settings
) -> None:
    """Without `database provision`, one role does everything."""
    admin = libpq_arguments(provisioner.admin, provisioner.settings)
    with psycopg.connect(**admin, autocommit=True) as connection:
        connection.execute("create role flagstone_lonely login password 'l'")
        connection.execute("create database flagstone owner flagstone_lonely")
    lonely = provisioner.admin.named("flagstone").as_role("flagstone_lonely", Secret("l"))
    Migrator(target=lonely, settings=provisioner.settings, instance="tests").migrate()

    await _check(lonely, settings, Tier.DEVELOPMENT)
    with pytest.raises(OverprivilegedError, match="owns the tables"):
        await _check(lonely, settings, Tier.PRODUCTION)
