"""The pool: waits have limits, clients get safe errors, and sessions share no state."""

import asyncio
import gc
import socket
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import msgspec
import psycopg
import pytest

from app.components import ReportScope
from app.database import Connection, Database
from app.database.client.connector import Connector, is_transient
from app.database.client.faults import DatabaseBugError, constraint, translated
from app.database.client.primary import Session
from app.database.role_names import APP
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.health.heartbeat import WRITE_CHECK, Heartbeat
from app.settings import Secret, Target, load
from tests.conftest import Server
from tests.database.full_postgres import FullServer
from tests.database.proxy import proxied
from tests.ports import free_port
from tests.waiting import HANG_SECONDS

# Default limits. Tests of a limit replace it with a short one.
LIMITS = replace(
    load({}).database,
    pool_max=2,
    acquire_timeout_seconds=5.0,
    command_timeout_seconds=5.0,
    connect_timeout_seconds=10.0,
    host_timeout_seconds=3.0,
)


@asynccontextmanager
async def opened(target: Target, **limits: Any) -> AsyncIterator[Database]:
    database = Database(replace(LIMITS, **limits))
    await database.open(target)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="module")
def target(server: Server) -> Iterator[Target]:
    """A separate database with a table that the app role may write."""
    name = server.create_database("pool")
    with server.admin(name) as connection:
        connection.execute(
            "create schema flagstone; grant usage on schema flagstone to public;"
            "create table flagstone.things (id bigint, n bigint, constraint things_pkey "
            "primary key (id)); grant all on flagstone.things to public;"
            "alter database pool set deadlock_timeout = '50ms'"
        )
    yield server.target(APP, name)
    server.drop_database(name)


@pytest.fixture
def admin(server: Server, target: Target) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Yield a superuser connection outside the pool. The table has two rows."""
    with server.admin(target.database) as connection:
        connection.execute("truncate flagstone.things")
        connection.execute("insert into flagstone.things (id, n) values (1, 0), (2, 0)")
        yield connection


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - asyncpg has no event for it
            await asyncio.sleep(0.01)


async def _recovers(database: Database) -> None:
    """Wait until a statement succeeds. A busy machine may need several attempts."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            with suppress(Unavailable):
                async with database.connection() as connection:
                    assert await connection.fetchval("select 2") == 2
                    return


async def test_closed_pool_is_unavailable(target: Target) -> None:
    database = Database(LIMITS)
    for _ in range(2):
        with pytest.raises(Unavailable) as refusal:
            async with database.connection():
                pass
        assert refusal.value.code == "database_away"
        await database.open(target)
        await database.close()
    await database.close()


async def test_exhausted_pool_fails_in_time_and_counts_waiters(target: Target) -> None:
    async with opened(target, pool_max=1, acquire_timeout_seconds=0.4) as database:

        async def use() -> None:
            async with database.connection():
                pass

        async with database.connection():
            waiters = [asyncio.create_task(use()) for _ in range(3)]
            await _until(lambda: database.use.waiting == 3)
            busy = database.use
            outcomes = await asyncio.gather(*waiters, return_exceptions=True)
        await use()
        rested = database.use

    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["pool_exhausted"] * 3
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert (busy.size, busy.idle, busy.limit) == (1, 0, 1)
    assert (rested.waiting, rested.idle) == (0, 1)


async def test_cancelled_waiter_is_not_counted(target: Target) -> None:
    async with opened(target, pool_max=1, acquire_timeout_seconds=5) as database:

        async def use() -> None:
            async with database.connection():
                pass

        async with database.connection():
            waiter = asyncio.create_task(use())
            await _until(lambda: database.use.waiting == 1)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            assert database.use.waiting == 0
        await use()


async def test_slow_statement_is_unavailable(target: Target) -> None:
    async with opened(target, pool_max=1, command_timeout_seconds=1) as database:
        with pytest.raises(Unavailable):
            async with database.connection() as connection:
                await connection.execute("select pg_sleep(3600)")

        await _recovers(database)


async def test_statement_timeout_of_the_server_is_busy(target: Target) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("set local statement_timeout = '50ms'")
        await connection.execute("select pg_sleep(3600)")

    async with opened(target) as database:
        with pytest.raises(Unavailable) as refusal:
            await database.transact(work)

    assert refusal.value.code == "database_busy"


async def test_lock_timeout_is_busy(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async with opened(target, lock_timeout_seconds=0.1) as database:
        with admin.transaction():
            admin.execute("update flagstone.things set n = 1 where id = 1")
            with pytest.raises(Unavailable) as refusal:
                async with database.connection() as connection:
                    await connection.execute("update things set n = 2 where id = 1")

    assert refusal.value.code == "database_busy"


async def test_terminated_backends_are_replaced(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async with opened(target, pool_max=3) as database, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(database.connection())
        await stack.aclose()
        assert database.use.idle == 3

        _terminate(admin)
        await _until(lambda: database.use.size == 0)

        for _ in range(6):
            async with database.connection() as connection:
                assert await connection.fetchval("select 1") == 1


async def test_backend_terminated_in_a_statement_is_away(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("select pg_sleep(3600)")

    async with opened(target) as database:
        running = asyncio.create_task(database.transact(work))
        at_work = "and query like '%pg_sleep(3600)%' and state = 'active'"
        await _until(lambda: _terminate(admin, at_work) > 0)
        (outcome,) = await asyncio.gather(running, return_exceptions=True)

        async with database.connection() as connection:
            assert await connection.fetchval("select 1") == 1
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "database_away"


def _terminate(admin: psycopg.Connection[tuple[object, ...]], which: str = "") -> int:
    row = admin.execute(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "  # noqa: S608
        f"where datname = current_database() and pid <> pg_backend_pid() {which}".encode()
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


@pytest.mark.slow
async def test_close_aborts_a_connection_in_use(target: Target) -> None:
    database = Database(LIMITS)
    await database.open(target)
    lent, over = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with database.connection():
            lent.set()
            await over.wait()

    user = asyncio.create_task(use())
    await lent.wait()

    await database.close()
    over.set()
    await asyncio.gather(user, return_exceptions=True)


async def test_serialization_failure_is_retried(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    attempts = 0

    async def work(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        await connection.execute("set transaction isolation level repeatable read")
        value: int = await connection.fetchval("select n from things where id = 1")
        if attempts < 3:
            admin.execute("update flagstone.things set n = n + 1 where id = 1")
        await connection.execute("update things set n = $1 where id = 1", value + 100)
        return value

    async with opened(target) as database:
        assert await database.transact(work) == 2

    assert attempts == 3
    assert admin.execute("select n from flagstone.things where id = 1").fetchone() == (102,)


async def test_three_serialization_failures_are_busy(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    attempts = 0

    async def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute("set transaction isolation level repeatable read")
        await connection.fetchval("select n from things where id = 1")
        admin.execute("update flagstone.things set n = n + 1 where id = 1")
        await connection.execute("update things set n = 0 where id = 1")

    async with opened(target) as database:
        with pytest.raises(Unavailable) as refusal:
            await database.transact(work)

    assert (attempts, refusal.value.code) == (3, "database_busy")


async def test_both_transactions_of_a_deadlock_succeed(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    both = asyncio.Barrier(2)

    def crosswise(first: int, second: int) -> Callable[[Connection], Awaitable[None]]:
        met = False

        async def work(connection: Connection) -> None:
            nonlocal met
            await connection.execute("update things set n = n + 1 where id = $1", first)
            if not met:
                met = True
                await both.wait()
            await connection.execute("update things set n = n + 1 where id = $1", second)

        return work

    async with opened(target, lock_timeout_seconds=5.0) as database:
        await asyncio.gather(database.transact(crosswise(1, 2)), database.transact(crosswise(2, 1)))

    rows = admin.execute("select n from flagstone.things order by id").fetchall()
    assert rows == [(2,), (2,)]


async def test_schema_change_under_a_cached_statement_is_retried(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    attempts = 0

    async def work(connection: Connection) -> list[str]:
        nonlocal attempts
        attempts += 1
        row = await connection.fetchrow("select * from things where id = 1")
        assert row is not None
        return list(row.keys())

    async with opened(target, pool_max=1) as database:
        before = await database.transact(work)
        admin.execute("alter table flagstone.things add column more text")
        try:
            after = await database.transact(work)
        finally:
            admin.execute("alter table flagstone.things drop column more")

    assert (before, after, attempts) == (["id", "n"], ["id", "n", "more"], 3)


async def test_application_error_rolls_back_without_retry(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    attempts = 0

    async def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute("insert into things (id) values (9)")
        raise NotFound("thing_unknown", "There is no such thing.")

    async with opened(target) as database:
        with pytest.raises(NotFound):
            await database.transact(work)

    assert attempts == 1
    assert admin.execute("select 1 from flagstone.things where id = 9").fetchone() is None


@pytest.mark.usefixtures("admin")
async def test_only_the_named_constraint_is_translated(target: Target) -> None:
    taken = Conflict("thing_taken", "There is such a thing.")

    async def work(name: str) -> None:
        async with opened(target) as database, database.connection() as connection:
            with constraint(name, taken):
                await connection.execute("insert into things (id) values (1)")

    with pytest.raises(Conflict, match="There is such a thing"):
        await work("things_pkey")
    with pytest.raises(DatabaseBugError, match=r"UniqueViolationError .*things_pkey"):
        await work("other")


async def test_unstorable_text_is_invalid(target: Target) -> None:
    async with opened(target) as database:
        for statement, value in (
            ("select $1::text", "a\0b"),
            ("select $1::jsonb", {"a": "\0"}),
        ):
            with pytest.raises(Invalid) as refusal:
                async with database.connection() as connection:
                    await connection.fetchval(statement, value)
            assert refusal.value.code == "value_unstorable"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError("10.0.0.1"), "database_away"),
        (TimeoutError("secret"), "database_timeout"),
        (asyncpg.AdminShutdownError("secret"), "database_away"),
        (asyncpg.DiskFullError("secret"), "database_away"),
        (asyncpg.ReadOnlySQLTransactionError("secret"), "database_away"),
        (asyncpg.TooManyConnectionsError("secret"), "database_away"),
        (asyncpg.DeadlockDetectedError("secret"), "database_busy"),
        (asyncpg.LockNotAvailableError("secret"), "database_busy"),
        (asyncpg.UndefinedColumnError("secret"), "schema_unfit"),
        (asyncpg.InsufficientPrivilegeError("secret"), "schema_unfit"),
    ],
)
def test_fault_message_has_no_server_text(error: Exception, code: str) -> None:
    with pytest.raises(Unavailable) as refusal, translated(away="Try again."):
        raise error

    assert refusal.value.code == code
    assert "secret" not in refusal.value.message
    assert "10.0.0.1" not in refusal.value.message
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize("error", [FileNotFoundError("file"), TimeoutError("own")])
async def test_fault_of_the_work_is_not_a_database_fault(target: Target, error: Exception) -> None:
    async def work(connection: Connection) -> None:
        await connection.fetchval("select 1")
        raise error

    async with opened(target) as database:
        with pytest.raises(type(error)) as of_transaction:
            await database.transact(work)
        with pytest.raises(type(error)) as of_connection:
            async with database.connection() as connection:
                await work(connection)
        assert not database.failed.is_set()

    assert of_transaction.value is error
    assert of_connection.value is error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (asyncpg.DiskFullError("secret"), "The disk of the database server is full."),
        (asyncpg.OutOfMemoryError("secret"), "The database server is out of memory."),
        (asyncpg.TooManyConnectionsError("secret"), "The database server has no free connection."),
        (asyncpg.ConfigurationLimitExceededError("secret"), "has reached a limit"),
        (asyncpg.PostgresIOError("secret"), "The disk of the database server failed."),
        (asyncpg.AdminShutdownError("secret"), "The database cannot be reached."),
        (ConnectionRefusedError("secret"), "The database cannot be reached."),
    ],
)
def test_server_without_resources_is_named(error: Exception, text: str) -> None:
    with pytest.raises(Unavailable) as refusal, translated(away="Try again."):
        raise error

    assert text in refusal.value.message
    assert refusal.value.message.endswith("Try again.")


@pytest.fixture
def limited(
    server: Server, target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> Iterator[Target]:
    """Yield the connection of a role that may have one connection."""
    admin.execute("create role narrow login password 'p' connection limit 1")
    yield server.superuser.named(target.database).as_role("narrow", Secret("p"))
    admin.execute("drop role narrow")


# One caller waits for less time than the three attempts to connect take, the other one for more.
@pytest.mark.parametrize("seconds", [0.3, 5.0])
async def test_used_up_connections_are_named(limited: Target, seconds: float) -> None:
    async with opened(limited, acquire_timeout_seconds=seconds) as database:
        async with database.connection():
            with pytest.raises(Unavailable) as refusal:
                async with database.connection():
                    pass
            heartbeat = Heartbeat(database, load({}).health, "narrow")
            await heartbeat.run_once()
        # An older failure explains no later wait.
        assert database.connect_failure_since(time.monotonic()) is None
        async with database.connection() as connection:
            assert await connection.fetchval("select 1") == 1

    reason = "The database server has no free connection."
    assert (refusal.value.code, refusal.value.retry_after_seconds) == ("database_away", 1)
    assert refusal.value.message == f"{reason} Try again."
    scope = ReportScope(covers=lambda _: True, can_serve=True)
    assert heartbeat.checks(scope)[WRITE_CHECK].output == f"database_away: {reason}"


async def test_refusal_of_a_stopped_server_is_named(target: Target) -> None:
    async with (
        proxied(target) as (proxy, through),
        opened(through, acquire_timeout_seconds=0.3) as database,
        database.connection(),
    ):
        proxy.upstream = ("127.0.0.1", free_port())
        with pytest.raises(Unavailable) as refusal:
            async with database.connection():
                pass

    assert refusal.value.code == "database_away"
    assert refusal.value.message == "The database cannot be reached. Try again."


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"password": Secret("wrong")}, asyncpg.InvalidPasswordError),
        ({"user": "missing"}, asyncpg.InvalidPasswordError),
        ({"database": "nowhere"}, asyncpg.InvalidCatalogNameError),
    ],
)
async def test_permanent_connect_error_is_not_retried(
    plain_server: FullServer, change: dict[str, str], error: type[Exception]
) -> None:
    async with proxied(plain_server.target(APP)) as (proxy, target):
        with pytest.raises(error) as refusal:
            async with opened(replace(target, **change)):  # type: ignore[arg-type]
                pass

        assert proxy.connections == 1
    assert not is_transient(refusal.value)


async def test_refused_connection_is_tried_three_times() -> None:
    target = Target(
        hosts=(("127.0.0.1", free_port()),), database="d", user="u", password=Secret("p")
    )

    with pytest.raises(OSError, match="Connect call failed") as refusal:
        async with opened(target):
            pass

    assert is_transient(refusal.value)


async def test_closed_handshake_is_tried_three_times() -> None:
    callers = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal callers
        callers += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        target = Target(hosts=(("127.0.0.1", port),), database="d", user="u", password=Secret("p"))
        with pytest.raises((OSError, asyncpg.InternalClientError, asyncpg.PostgresError)) as end:
            async with opened(target):
                pass

    assert callers == 3
    assert is_transient(end.value)


async def test_all_connect_attempts_end_in_time() -> None:
    """The host accepts and never answers, and the attempts need more time than the limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        target = Target(hosts=((host, port),), database="d", user="u", password=Secret("p"))
        with pytest.raises(TimeoutError):
            async with opened(
                target,
                connect_timeout_seconds=1.0,
                host_timeout_seconds=0.4,
                connect_attempts=10_000,
            ):
                pass


async def test_silent_first_host_does_not_delay_the_second(
    plain_server: FullServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = plain_server.target(APP)
        several = replace(target, hosts=(silent.getsockname(), *target.hosts))
        async with (
            opened(several, host_timeout_seconds=60, connect_timeout_seconds=30) as database,
            database.connection() as connection,
        ):
            assert await connection.fetchval("select 1") == 1


async def test_two_answering_hosts_leave_one_connection(
    plain_server: FullServer,
) -> None:
    """Only the second session must be closed."""
    target = plain_server.target(APP)
    several = replace(target, hosts=target.hosts * 2)
    with plain_server.admin() as admin:
        for _ in range(20):
            async with opened(several) as database, database.connection() as connection:
                assert await connection.fetchval("select 1") == 1

        def are_closed() -> bool:
            row = admin.execute(
                "select count(*) from pg_stat_activity where usename = %s", [APP]
            ).fetchone()
            return row == (0,)

        await _until(are_closed)


async def test_write_without_a_connection_was_not_made(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("update things set n = n + 1 where id = 1")

    async with opened(target) as database:
        admin.execute(f"alter role {APP} nologin")
        try:
            _terminate(admin, "")
            await _until(lambda: database.use.size == 0)
            with pytest.raises(Unavailable) as refusal:
                await database.transact(work)
        finally:
            admin.execute(f"alter role {APP} login")

    assert (refusal.value.code, database.failed.is_set()) == ("database_away", True)
    assert refusal.value.message == "The database cannot be reached. Try again."


async def test_read_only_window_passes_writes_succeed_again(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("update things set n = n + 1 where id = 1")

    async with AsyncExitStack() as stack:
        admin.execute("alter database pool set default_transaction_read_only = on")
        try:
            database = await stack.enter_async_context(opened(target, pool_max=3))
            with pytest.raises(Unavailable) as refusal:
                await database.transact(work)
            async with database.connection(), database.connection(), database.connection():
                assert database.use.size == 3
        finally:
            admin.execute("alter database pool reset default_transaction_read_only")
        await asyncio.gather(*(database.transact(work) for _ in range(2)))
        with suppress(Unavailable):
            # One old session remains, and a single statement is not retried.
            async with database.connection() as connection:
                await work(connection)
        for _ in range(3):
            async with database.connection() as connection:
                await work(connection)

    assert refusal.value.code == "database_away"


async def test_tcp_keepalive_is_on(plain_server: FullServer) -> None:
    async with opened(plain_server.target(APP)) as database, database.connection() as connection:
        peer = connection._con._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        options = [
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(
                peer.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            ),
        ]

    assert options == [1, 30, 10, 3, 30_000]


@pytest.mark.slow
async def test_silent_network_costs_two_command_timeouts(
    plain_server: FullServer,
) -> None:
    async with (
        proxied(plain_server.target(APP)) as (proxy, target),
        opened(target, pool_max=1, command_timeout_seconds=1) as database,
    ):
        await _recovers(database)
        proxy.flowing.clear()
        with pytest.raises(Unavailable) as refusal:
            async with database.connection() as connection:
                await connection.fetchval("select 1")

        proxy.flowing.set()
        await _recovers(database)
    assert refusal.value.code == "database_timeout"


@pytest.mark.slow
async def test_release_cancelled_on_dead_network_reports_nothing(
    plain_server: FullServer,
) -> None:
    """The release fails later. asyncio must not report an error that was never retrieved."""
    loop = asyncio.get_running_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    async with (
        proxied(plain_server.target(APP)) as (proxy, target),
        opened(target, pool_max=1, command_timeout_seconds=4) as database,
    ):

        async def use() -> None:
            async with database.connection() as connection:
                await connection.execute("select pg_sleep(3600)")

        user = asyncio.create_task(use())
        await _until(lambda: _count_sleeping(plain_server) == 1)
        proxy.flowing.clear()
        for _ in range(2):  # first during the statement, then during the release
            user.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        (outcome,) = await asyncio.gather(user, return_exceptions=True)
        await _until(lambda: database.use.size == 0)
        proxy.flowing.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()

    assert isinstance(outcome, asyncio.CancelledError)
    assert [report for report in reports if "never retrieved" in report] == []


def _count_sleeping(server: FullServer) -> int:
    with server.admin() as admin:
        row = admin.execute(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def test_unanswered_connect_is_not_pool_exhaustion(
    plain_server: FullServer,
) -> None:
    """After `pool_exhausted`, an operator would enlarge the pool, which does not help here."""
    async with (
        proxied(plain_server.target(APP)) as (proxy, target),
        opened(target, acquire_timeout_seconds=1) as database,
        database.connection(),
    ):
        proxy.flowing.clear()
        with pytest.raises(Unavailable) as refusal:
            async with database.connection():
                pass
        proxy.flowing.set()

    assert refusal.value.code == "database_away"


@pytest.mark.parametrize("steps", range(5))
async def test_connection_without_a_waiter_is_closed(server: Server, steps: int) -> None:
    """Cancel at each step of the loop between opening a connection and its assignment."""
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks()
    opening = asyncio.ensure_future(Connector(server.target(APP), LIMITS)())
    await asyncio.sleep(0)
    (attempt,) = asyncio.all_tasks() - others - {opening}

    def cancel(task: asyncio.Future[Session], after: int) -> None:
        if after:
            loop.call_soon(cancel, task, after - 1)
        else:
            task.cancel()

    attempt.add_done_callback(partial(lambda task, _: cancel(task, steps), opening))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        (outcome,) = await asyncio.gather(opening, return_exceptions=True)
        if not isinstance(outcome, BaseException):
            await outcome.close()
        for _ in range(5):
            await asyncio.sleep(0)
        del opening, attempt, outcome
        gc.collect()

    # asyncpg warns if a connection is garbage-collected before it is closed.
    assert [str(warning.message) for warning in warned] == []


@pytest.mark.parametrize(
    "value",
    [
        True,
        0,
        -1,
        2**53,
        -(2**53),
        1.5,
        0.1,
        5e-324,
        1e300,
        -1e300,
        1.7976931348623157e308,
        "",
        "12345678901234567890",
        "Zoë 🚩",
        [],
        {},
        [1e300, {"a": [None, 1e22, "1e22"]}],
    ],
)
async def test_json_value_round_trips(target: Target, value: object) -> None:
    async with opened(target) as database, database.connection() as connection:
        back = await connection.fetchval("select $1::jsonb", value)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


async def test_json_null_differs_from_sql_null(target: Target) -> None:
    statement = "select $1::jsonb is null, $1::jsonb::text, $1::jsonb"
    async with opened(target) as database, database.connection() as connection:
        of_sql = await connection.fetchrow(statement, None)
        of_json = await connection.fetchrow(statement, msgspec.Raw(b"null"))

    assert of_sql is not None
    assert of_json is not None
    assert tuple(of_sql) == (True, None, None)
    assert tuple(of_json) == (False, "null", None)


async def test_json_array_keeps_both_nulls(target: Target) -> None:
    values = [1, "a", None, msgspec.Raw(b"null"), {"b": [1e300]}]
    async with opened(target) as database, database.connection() as connection:
        back = await connection.fetchval("select $1::jsonb[]", values)
        nulls = await connection.fetchval(
            "select array_agg(v is null order by n) "
            "from unnest($1::jsonb[]) with ordinality as u (v, n)",
            values,
        )

    assert back == [1, "a", None, None, {"b": [1e300]}]
    assert nulls == [False, False, True, False, False]


async def test_release_removes_listeners(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    notifications: list[object] = []
    async with opened(target, pool_max=1) as database:

        async def borrow() -> int:
            async with database.connection() as connection:
                await connection.add_listener(
                    "pool", lambda *notification: notifications.append(notification)
                )
                admin.execute("notify pool, 'within'")
                await _until(lambda: len(notifications) == 1)
                return int(connection.get_server_pid())

        with pytest.warns(asyncpg.InterfaceWarning, match="1 active notification listener"):
            pid = await borrow()

        async with database.connection() as connection:
            assert connection.get_server_pid() == pid
            admin.execute("notify pool, 'after'")
            # Notifications sent before the answer of a statement arrive with it.
            await connection.fetchval("select 1")
            await connection.fetchval("select 1")

    assert len(notifications) == 1


async def test_release_rolls_back_an_open_transaction(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async with opened(target, pool_max=1) as database:
        async with database.connection() as connection:
            pid = connection.get_server_pid()
            await connection.execute("begin; insert into things (id) values (7)")

        state = admin.execute("select state from pg_stat_activity where pid = %s", [pid])
        assert state.fetchone() == ("idle",)
        async with database.connection() as connection:
            assert connection.get_server_pid() == pid
            assert not connection.is_in_transaction()
            assert await connection.fetchval("select count(*) from things where id = 7") == 0


async def test_every_acquired_session_has_its_limits(target: Target) -> None:
    names = (
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "jit",
        "timezone",
        "search_path",
        "application_name",
    )
    async with opened(target, pool_max=1, lock_timeout_seconds=2.0) as database:
        for _ in range(2):
            async with database.connection() as connection:
                values = [await connection.fetchval(f"show {name}") for name in names]
            assert values == ["5s", "2s", "10s", "off", "UTC", "flagstone, pg_temp", "flagstone"]


async def test_transaction_may_be_idle_as_long_as_a_statement_takes(target: Target) -> None:
    async with (
        opened(target, command_timeout_seconds=20.0) as database,
        database.connection() as connection,
    ):
        assert await connection.fetchval("show idle_in_transaction_session_timeout") == "20s"


async def test_cancelled_callers_leave_the_pool_intact(
    target: Target, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("update things set n = n + 1 where id = 1")
        await connection.execute("select pg_sleep(0.02)")

    async with opened(target, pool_max=2, acquire_timeout_seconds=10) as database:
        callers = [asyncio.create_task(database.transact(work)) for _ in range(20)]
        for position, caller in enumerate(callers):
            if position % 2:
                await asyncio.sleep(0.01)
                caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await _until(lambda: database.use.idle == database.use.size)

        assert database.use.waiting == 0
        row = admin.execute(
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and state like 'idle in transaction%'"
        ).fetchone()
        assert row == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["statement", "transaction", "release"])
async def test_cancelled_caller_ends_when_the_network_is_dead(target: Target, moment: str) -> None:
    """Rollback and release then fail. Their errors must not replace the cancellation."""
    reached = asyncio.Event()

    async def work(connection: Connection) -> None:
        proxy.flowing.clear()
        reached.set()
        if moment != "release":
            await connection.execute("select 1")

    async def use() -> None:
        async with database.connection() as connection:
            await work(connection)
            await asyncio.Event().wait()

    async with (
        proxied(target) as (proxy, through),
        opened(through, command_timeout_seconds=1) as database,
    ):
        caller = asyncio.create_task(database.transact(work) if moment == "transaction" else use())
        await reached.wait()
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller], timeout=HANG_SECONDS)

    assert caller.done()
    assert caller.cancelled()


async def test_result_stands_when_the_release_fails(target: Target) -> None:
    """The commit is already acknowledged, so the answer must not be an error."""

    async def work(connection: Connection) -> int:
        return int(await connection.fetchval("select 7"))

    async with (
        proxied(target) as (proxy, through),
        opened(through, command_timeout_seconds=1) as database,
        database.connection() as connection,
    ):
        result = await work(connection)
        await connection.execute("begin")
        # The release rolls back, and receives no answer.
        proxy.flowing.clear()

    assert result == 7
