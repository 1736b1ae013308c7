"""Test that the check of the app role names each excess power, however it was granted."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import sql as psql

from app.database import Database
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR, OWNER
from app.database.roles.check import OverprivilegedError, check_role, role_powers
from app.database.roles.rights import APPEND_ONLY, TABLES
from app.settings import Secret, Settings, Target, Tier
from tests.conftest import Server
from tests.database.full_postgres import FullServer, version_of

DATABASE = "powers"
PASSWORD = "role-power-3Ke8"
_OTHER = "select rolname from pg_roles where rolname = %s"
# By power: the statements of an administrator, and the expected report. `{}` is the role.
POWERS = {
    "nothing": ([], []),
    "what the service needs": (
        [f"grant {rights} on flagstone.{table} to {{}}" for table, rights in TABLES.items()],
        [],
    ),
    "a superuser": (["alter role {} superuser createdb"], ["is a superuser"]),
    "a superuser's membership": (
        ["create role {}_other superuser", "grant {}_other to {}"],
        ["may become the superuser {}_other"],
    ),
    "attributes": (
        ["alter role {} createrole createdb replication bypassrls"],
        [
            *("may bypass row-level security", "may copy the whole server by replication"),
            *("may create databases", "may create roles"),
        ],
    ),
    "inherited attributes": (
        ["create role {}_other createdb", "grant {}_other to {}"],
        ["may create databases"],
    ),
    "roles of PostgreSQL": (
        [
            *("grant pg_execute_server_program to {}", "grant pg_write_server_files to {}"),
            *("grant pg_read_server_files to {}", "grant pg_signal_backend to {}"),
            "grant pg_monitor to {}",
        ],
        [
            *("is a member of pg_execute_server_program", "is a member of pg_read_server_files"),
            *("is a member of pg_signal_backend", "is a member of pg_write_server_files"),
        ],
    ),
    "roles for all data": (
        ["grant pg_read_all_data to {}", "grant pg_write_all_data to {}"],
        [
            *("is a member of pg_read_all_data", "is a member of pg_write_all_data"),
            # Through pg_write_all_data, not through a grant.
            "may delete, insert, update on migrations",
            *(
                f"may delete, update on {table}"
                for table in sorted(APPEND_ONLY)
                if table != "migrations"
            ),
        ],
    ),
    "the owner": (
        [f"grant {OWNER} to {{}}"],
        ["owns the database", "owns the schema flagstone", "owns the tables"],
    ),
    "one table": (["alter table flagstone.tokens owner to {}"], ["owns the tables"]),
    "a function, a sequence, a type": (
        [
            "create domain flagstone.word as text",
            "alter domain flagstone.word owner to {}",
        ],
        ["owns functions, sequences or types in the schema flagstone"],
    ),
    "a function that others run": (
        [
            f"create schema flagstone_audit authorization {OWNER}",
            "create function flagstone_audit.fired() returns void language sql as ''",
            "alter function flagstone_audit.fired() owner to {}",
        ],
        ["owns functions, sequences or types in the schema flagstone_audit"],
    ),
    "a function that runs as its owner": (
        [
            "create function flagstone.lent() returns void security definer language sql as ''",
            f"alter function flagstone.lent() owner to {OWNER}",
            "create function flagstone.fired() returns trigger language plpgsql as 'begin end'",
            "alter function flagstone.fired() security definer",
            "grant usage on schema flagstone to {}",
            "grant execute on function flagstone.lent(), flagstone.fired() to public",
        ],
        [f"may run flagstone.lent as {OWNER}"],
    ),
    "objects in the schema public": (
        ["grant create on schema public to {}"],
        ["may create objects in the schema public"],
    ),
    "objects of the server": (
        [
            "grant execute on function pg_read_file(text) to {}",
            "grant execute on function pg_sleep(double precision) to {}",
            "grant update on pg_authid to {}",
            "grant select on pg_class to {}",
        ],
        ["may run pg_read_file", "may update on pg_authid"],
    ),
    "settings of a superuser": (
        [
            "grant set on parameter session_replication_role to {}",
            "create role {}_other",
            "grant {}_other to {}",
            "grant alter system on parameter archive_command to {}_other",
        ],
        ["may set for the whole server archive_command", "may set session_replication_role"],
    ),
    "a grant option": (
        ["grant select on flagstone.tokens to {} with grant option"],
        ["may grant its rights to tokens"],
    ),
    "new schemas and objects": (
        [
            f"grant create on database {DATABASE} to {{}}",
            "grant usage, create on schema flagstone to {}",
        ],
        ["may create schemas in the database", "may create objects in the schema flagstone"],
    ),
    "the history": (
        [
            "grant update, delete, truncate on flagstone.change_sets to {}",
            "grant update (detail) on flagstone.access_log to {}",
            "grant delete on flagstone.property_changes to {}",
            "grant insert on flagstone.migrations to {}",
            "grant trigger, truncate on flagstone.configurations to {}",
        ],
        [
            *("may delete on property_changes", "may delete, truncate, update on change_sets"),
            *("may insert on migrations", "may trigger, truncate on configurations"),
            "may update on access_log",
        ],
    ),
    "the trail": (
        [
            f"create schema flagstone_audit authorization {OWNER}",
            "create table flagstone_audit.trail (a integer)",
            "grant usage on schema flagstone_audit to {}",
            "grant select, insert, delete on flagstone_audit.trail to {}",
        ],
        ["may delete, insert on trail"],
    ),
    "the history, through public": (
        ["grant delete on flagstone.changes to public"],
        ["may delete on changes"],
    ),
}
# By power: the first server version that has the right.
SINCE = {"roles for all data": 14, "settings of a superuser": 15}


@contextmanager
def _role(server: Server | FullServer, name: str, statements: list[str]) -> Iterator[None]:
    """Create a role that may connect, run the statements, and drop all of it afterwards."""
    with server.admin() as admin, server.admin(DATABASE) as inside:
        password = psql.Literal(PASSWORD)
        admin.execute(psql.SQL("create role {} login password {}").format(_name(name), password))
        admin.execute(
            psql.SQL("grant connect on database {} to {}").format(_name(DATABASE), _name(name))
        )
        try:
            for statement in statements:
                inside.execute(statement.replace("{}", name).encode())
            yield
        finally:
            # This also drops the real audit schema, which only the first role needs.
            inside.execute("drop schema if exists flagstone_audit cascade")
            inside.execute("revoke all on flagstone.changes from public")
            inside.execute("drop function if exists flagstone.lent(), flagstone.fired()")
            inside.execute("drop domain if exists flagstone.word")
            inside.execute(psql.SQL("reassign owned by {} to {}").format(_name(name), _name(OWNER)))
            inside.execute(psql.SQL("drop owned by {}").format(_name(name)))
            if other := admin.execute(_OTHER, [f"{name}_other"]).fetchone():
                admin.execute(psql.SQL("drop owned by {}").format(_name(str(other[0]))))
            admin.execute(psql.SQL("drop role {}").format(_name(name)))
            admin.execute(psql.SQL("drop role if exists {}").format(_name(f"{name}_other")))


def _name(name: str) -> psql.Identifier:
    return psql.Identifier(name)


async def _powers(target: Target, settings: Settings) -> list[str]:
    database = Database(settings.database)
    await database.open(target)
    try:
        async with database.connection() as connection:
            return await role_powers(connection)
    finally:
        await database.close()


async def _reports(
    server: Server | FullServer, superuser: Target, settings: Settings
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the actual and the expected report of a role with each of the powers."""
    actual, expected = {}, {}
    version = version_of(server)
    for number, (power_name, (statements, powers)) in enumerate(POWERS.items()):
        if version < SINCE.get(power_name, 0):
            continue
        name = f"power_{number}"
        with _role(server, name, statements):
            actual[power_name] = await _powers(superuser.as_role(name, Secret(PASSWORD)), settings)
        expected[power_name] = [power.replace("{}", name) for power in powers]
    return actual, expected


@pytest.mark.slow
async def test_every_power_is_listed(server: Server, settings: Settings) -> None:
    superuser = server.superuser.named(server.create_database(DATABASE, "flagstone"))

    actual, expected = await _reports(server, superuser, settings)
    # Before version 17, the right to lock a table has no name of its own.
    lock = "maintain" if version_of(server) >= 17 else "truncate"
    with _role(server, "power_of_locks", [f"grant {lock} on flagstone.tokens to {{}}"]):
        locks = await _powers(superuser.as_role("power_of_locks", Secret(PASSWORD)), settings)
    as_app = await _powers(server.target(APP, DATABASE), settings)

    server.drop_database(DATABASE)
    assert actual == expected
    assert locks == [f"may {lock} on tokens"]
    assert as_app == []


@pytest.mark.slow
async def test_every_power_is_listed_on_an_older_server(
    plain_server: FullServer, settings: Settings
) -> None:
    plain_server.create_database(DATABASE)
    migrator = plain_server.target(MIGRATOR, DATABASE)
    base = plain_server.provisioner.settings
    Migrator(target=migrator, settings=base, instance="tests").migrate()
    with plain_server.admin(DATABASE) as admin:
        # Do as provisioning does: otherwise the owner of the database may create objects in it,
        # and before version 15 every role may.
        admin.execute("alter schema public owner to current_user")
        admin.execute("revoke all on schema public from public")

    actual, expected = await _reports(
        plain_server, plain_server.superuser.named(DATABASE), settings
    )

    assert actual == expected
    assert await _powers(plain_server.target(APP, DATABASE), settings) == []


async def test_refusal_names_every_power(server: Server, settings: Settings) -> None:
    target = server.target(MIGRATOR)
    database = Database(settings.database)
    await database.open(target)
    try:
        await check_role(database, Tier.DEVELOPMENT)
        with pytest.raises(OverprivilegedError) as refusal:
            await check_role(database, Tier.STAGING)
    finally:
        await database.close()

    assert str(refusal.value) == (
        "DATABASE_URL: the role owns the database, owns the schema flagstone, owns the tables, "
        "which staging refuses; use the app role that `python -m app database provision` creates"
    )
