"""PgBouncer in transaction mode, without prepared statements and, since version 1.21, with them.

The program is FLAGSTONE_PGBOUNCER, or Debian's.
"""

import asyncio
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.components import Status
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection, Database, sql
from app.database.client.connector import is_transient
from app.database.client.drivers import libpq_arguments
from app.database.client.pooler import PoolerError
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.database.startup import pooler_check
from app.environments.service import get as get_environment
from app.errors import Unavailable
from app.settings import DatabaseSettings, Pooler, Target, load
from tests.database.full_postgres import (
    FullServer,
    account,
    missing,
    open_folder,
    own,
)
from tests.ports import free_port
from tests.waiting import until

SERVER_CONNECTIONS = 3
# Read from environment variables, so that the tests cover these settings too.
POOLED = load(
    {
        "DATABASE_POOLER": "transaction",
        "DATABASE_STATEMENT_CACHE": "0",
        # The settings require these URLs. The tests connect elsewhere.
        "DATABASE_URL": "postgresql://a:p@127.0.0.1:6432/d",
        "DATABASE_MIGRATOR_URL": "postgresql://m:p@127.0.0.1:5432/d",
    }
).database
LIMITS = replace(POOLED, pool_max=10, acquire_timeout_seconds=30.0, command_timeout_seconds=20.0)
_START_SECONDS = 60


@pytest.fixture(scope="module")
def direct(plain_server: FullServer) -> Target:
    """Return the app role's direct target, without the pooler. The database is migrated."""
    target = plain_server.target(MIGRATOR)
    Migrator(target=target, settings=POOLED, instance="tests").migrate()
    return plain_server.target(APP)


@contextmanager
def _running(direct: Target, more: str = "") -> Iterator[Target]:
    """Run a pooler under the account of the servers. Yield the app role's target through it."""
    program = _program()
    with open_folder("flagstone-pooler-") as folder:
        port = free_port()
        configuration = _configured(folder, direct, port, more)
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                **account(),
            )
        try:
            target = replace(direct, hosts=(("127.0.0.1", port),))
            _wait_until_ready(process, target, log)
            yield target
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START_SECONDS)


def _program() -> str:
    program = os.environ.get("FLAGSTONE_PGBOUNCER") or shutil.which(
        "pgbouncer", path="/usr/sbin:/usr/bin"
    )
    if program is None:
        missing("pgbouncer")
    return str(program)


def _is_preparing() -> bool:
    """Return whether this version of PgBouncer supports prepared statements."""
    output = subprocess.run(
        [_program(), "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
    ).stdout
    match = re.search(r"PgBouncer (\d+)\.(\d+)", output)
    assert match, output
    return (int(match[1]), int(match[2])) >= (1, 21)


def _without_preparing() -> str:
    # Version 1.24 turns it on by default.
    return "max_prepared_statements = 0\n" if _is_preparing() else ""


@pytest.fixture(scope="module")
def pooler(direct: Target) -> Iterator[Target]:
    with _running(direct, _without_preparing()) as target:
        yield target


@pytest.fixture
def preparing_pooler(direct: Target) -> Iterator[Target]:
    if not _is_preparing():
        pytest.skip("PgBouncer is older than 1.21")
    with _running(direct, "max_prepared_statements = 100\n") as target:
        yield target


@pytest.fixture
def silent_pooler(direct: Target) -> Iterator[Target]:
    """Run a pooler that ignores unknown start-up parameters."""
    names = "search_path,statement_timeout,lock_timeout,idle_in_transaction_session_timeout,jit"
    more = f"ignore_startup_parameters = {names}\n{_without_preparing()}"
    with _running(direct, more) as target:
        yield target


def _configured(folder: Path, direct: Target, port: int, more: str) -> Path:
    host, server_port = direct.hosts[0]
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    assert direct.password is not None
    users.write_text(f'"{direct.user}" "{direct.password.reveal()}"\n')
    users.chmod(0o600)
    configuration.write_text(f"""\
[databases]
{direct.database} = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 100
{more}""")
    own(users, configuration)
    return configuration


def _wait_until_ready(process: subprocess.Popen[bytes], target: Target, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(**libpq_arguments(target, POOLED)).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"PgBouncer does not answer: {log.read_text()[-1000:]}")


@asynccontextmanager
async def _opened(target: Target, settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(settings)
    await database.open(target)
    try:
        yield database
    finally:
        await database.close()


async def _use_by_many(database: Database) -> None:
    """Write, read and beat at once, and check what was written."""
    environments = ("local", "development")
    folder = secrets.token_hex(4)

    async def write(n: int) -> int:
        async def work(connection: Connection) -> int:
            content = Content(
                kind=Kind.SETTING, value={"n": n, "d": 1e300}, schema=None, description=None
            )
            operation = Operation(key=f"{folder}/{n}", content=content, expected=None)
            change_set = await apply(
                connection,
                environments[n % 2],
                [operation],
                actor="test",
                message=str(n),
                authority=OPERATOR_AUTHORITY,
            )
            return change_set.revision

        return await database.transact(work)

    async def read(n: int) -> int:
        async with database.connection() as connection:
            row = await sql.find_configuration(
                connection, environment=environments[n % 2], key=f"{folder}/{n}"
            )
        assert row is not None
        return int(row["revision"])

    async def beat(n: int) -> int:
        async with database.connection() as connection:
            row = await sql.insert_heartbeat(
                connection, instance=f"pooler-{n}", retention_seconds=60.0
            )
            await sql.update_heartbeat_latency(connection, id=row["id"], latency_ms=1.5)
        return int(row["id"])

    async with database.connection() as connection:
        before = [await get_environment(connection, name) for name in environments]
    works = [write, read, write, beat]
    outcomes = await asyncio.gather(
        *(works[n // 2 % 4](n) for n in range(200)), return_exceptions=True
    )
    read_back = [await read(n) for n in (0, 1)]

    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    assert read_back == [head.revision + 50 for head in before]


@pytest.mark.slow
async def test_many_clients_share_few_pooler_connections(
    pooler: Target, plain_server: FullServer
) -> None:
    async with _opened(pooler, LIMITS) as database:
        await _use_by_many(database)

    with plain_server.admin("flagstone") as connection:

        async def are_few() -> bool:
            row = connection.execute(
                "select count(distinct pid) from pg_stat_activity where usename = %s", [APP]
            ).fetchone()
            assert row is not None
            return 1 <= int(str(row[0])) <= SERVER_CONNECTIONS

        # The pooler keeps its connections. Only those of earlier tests end meanwhile.
        await until(are_few)


async def test_cached_statements_work_behind_new_pooler(preparing_pooler: Target) -> None:
    async with _opened(preparing_pooler, replace(LIMITS, statement_cache_size=100)) as database:
        await _use_by_many(database)
        check = pooler_check(database)

    assert check.status is Status.PASS


async def test_role_settings_apply_behind_a_pooler(
    pooler: Target,
) -> None:
    async with _opened(pooler, LIMITS) as database, database.connection() as connection:
        values = [
            await connection.fetchval(f"show {name}")
            for name in ("statement_timeout", "lock_timeout", "jit", "search_path", "timezone")
        ]

    assert values == ["5s", "2s", "off", "flagstone, pg_temp", "UTC"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pooler": Pooler.NONE}, "refuses a start-up parameter"),
        ({"statement_cache_size": 100}, "loses prepared statements"),
    ],
)
async def test_pooler_without_its_settings_is_final(
    pooler: Target, change: dict[str, Any], reason: str
) -> None:
    """If the error were transient, the service would retry and not report the reason."""
    with pytest.raises(PoolerError, match=reason) as refusal:
        async with _opened(pooler, replace(LIMITS, **change)):
            pass

    assert not is_transient(refusal.value)
    for setting in ("DATABASE_POOLER", "DATABASE_STATEMENT_CACHE", "max_prepared_statements"):
        assert setting in str(refusal.value)


async def test_statement_cache_without_pooler_is_accepted(direct: Target) -> None:
    """The migrator connects without the pooler, but with the same settings."""
    async with _opened(direct, replace(LIMITS, statement_cache_size=100)) as database:
        assert pooler_check(database).status is Status.PASS


async def test_lost_statements_at_run_time_are_unavailable(silent_pooler: Target) -> None:
    """The settings name no pooler, so only the lost statements reveal it."""

    async def read_twice(database: Database) -> None:
        async with database.connection() as reader, database.connection() as other:
            await sql.find_configuration(reader, environment="local", key="none")
            async with other.transaction():
                # This takes the server connection that was used last. It knows the statement.
                await other.execute("select 1")
                await sql.find_configuration(reader, environment="local", key="none")

    settings = replace(LIMITS, pooler=Pooler.NONE, statement_cache_size=100)
    async with _opened(silent_pooler, settings) as database:
        with pytest.raises(Unavailable) as refusal:
            await read_twice(database)
        check = pooler_check(database)

    assert refusal.value.code == "pooler_misconfigured"
    assert check.status is Status.FAIL
