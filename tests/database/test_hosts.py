"""Several hosts: one refuses, answers late, or is a former primary."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.configuration.snapshots.follower import Follower
from app.database import Database
from app.database.client.connector import Connector
from app.database.client.primary import Primary, Session
from app.database.client.primary_watch import PrimaryWatch
from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.database.targets import probe
from app.errors import Unavailable
from app.http.keys import DATABASE
from app.private_files import exclusive_in
from app.settings import Settings, Target, load
from tests.conftest import Service, serving
from tests.database.full_postgres import FullServer, full_server, standby_of
from tests.waiting import HANG_SECONDS

# Refusals come at once, so a loop without a pause would use a whole core.
_PAUSE_SECONDS = 0.02
LIMITS = replace(
    load({}).database,
    pool_max=4,
    connect_timeout_seconds=20.0,
    host_timeout_seconds=10.0,
    connect_attempts=1,
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    primary: FullServer
    standby: FullServer

    @property
    def target(self) -> Target:
        """Return the app role's target with both hosts, the standby first."""
        hosts = (*self.standby.superuser.hosts, *self.primary.superuser.hosts)
        return replace(self.primary.target(APP), hosts=hosts)


@contextmanager
def two_servers() -> Iterator[Pair]:
    with full_server(tls=False) as primary:
        primary.provisioner.provision()
        Migrator(target=primary.target(MIGRATOR), settings=LIMITS, instance="tests").migrate()
        with standby_of(primary) as standby:
            yield Pair(primary=primary, standby=standby)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with two_servers() as pair:
        yield pair


async def _port(connection: Session) -> int:
    return int(await connection.fetchval("select current_setting('port')::int"))


async def _set_rules(server: FullServer, rules: str, *, refuses: bool) -> None:
    (server.folder / "data" / "pg_hba.conf").write_text(rules)
    with server.admin() as admin:
        admin.execute("select pg_reload_conf()")
    connector = Connector(server.target(APP), LIMITS)
    async with asyncio.timeout(HANG_SECONDS):
        while True:  # PostgreSQL does not report when the reload is done.
            try:
                (await connector()).terminate()
            except asyncpg.InvalidAuthorizationSpecificationError:
                if refuses:
                    return
            else:
                if not refuses:
                    return


@pytest.fixture
async def refusing_standby(pair: Pair) -> AsyncIterator[None]:
    """Refuse the app role on the standby, by the standby's pg_hba.conf."""
    rules = (pair.standby.folder / "data" / "pg_hba.conf").read_text()
    await _set_rules(pair.standby, f"host all {APP} all reject\n{rules}", refuses=True)
    yield
    await _set_rules(pair.standby, rules, refuses=False)


@pytest.mark.slow
@pytest.mark.usefixtures("refusing_standby")
async def test_host_that_refuses_leaves_the_primary(pair: Pair) -> None:
    connection = await Connector(pair.target, LIMITS)()

    assert await _port(connection) == pair.primary.port
    await connection.close()


@pytest.mark.usefixtures("refusing_standby")
async def test_all_hosts_refuse_raises_the_refusal(pair: Pair) -> None:
    hosts = pair.standby.superuser.hosts * 2

    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await Connector(replace(pair.target, hosts=hosts), LIMITS)()


@pytest.mark.slow
async def test_busy_loop_two_answers_at_once_returns_primary(pair: Pair) -> None:
    """After a delay of the event loop, one iteration often receives both answers."""
    is_over = False

    async def block_loop() -> None:
        while not is_over:
            time.sleep(0.02)  # noqa: ASYNC251 - this is the load
            await asyncio.sleep(0)

    load = asyncio.create_task(block_loop())
    connector = Connector(pair.target, LIMITS)
    try:
        for _ in range(12):
            connection = await connector()
            connection.terminate()
    finally:
        is_over = True
        await load


async def test_host_that_breaks_the_handshake_does_not_end_watch(pair: Pair) -> None:
    connects = 0
    again = asyncio.Event()

    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connects
        connects += 1
        if connects > 1:
            again.set()
        # A request for an MD5 password, without its salt.
        writer.write(b"R\x00\x00\x00\x08\x00\x00\x00\x05")
        writer.close()

    primary = Primary()
    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        target = replace(pair.target, hosts=(address, *pair.primary.superuser.hosts))
        watching = asyncio.create_task(PrimaryWatch(primary).run(target, LIMITS))
        second = asyncio.create_task(again.wait())
        ended, _ = await asyncio.wait(
            {watching, second}, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        watching.cancel()
        second.cancel()

    assert ended == {second}


async def test_connect_does_not_wait_for_the_lock_of_data_dir(pair: Pair, tmp_path: Path) -> None:
    """Another process may have the lock for long, for example one that a debugger stopped."""
    primary = Primary(tmp_path)
    target = pair.primary.target(APP)

    with capture_logs() as logged, exclusive_in(tmp_path):
        connection = await Connector(target, LIMITS, primary)()
        connection.terminate()

    assert primary.timeline == 1
    assert [line["reason"] for line in logged if line["event"] == "timeline_not_written"] == [
        "no answer within 1 s"
    ]


async def test_server_behind_the_last_read_revision_is_refused(pair: Pair) -> None:
    hosts = pair.primary.superuser.hosts * 2
    database = Database(LIMITS)
    follower = Follower(database)
    connector = Connector(replace(pair.target, hosts=hosts), LIMITS, database.primary)
    with pair.primary.admin("flagstone") as admin:
        admin.execute("update flagstone.environments set revision = 7 where name = 'local'")
        await database.open(pair.target)
        try:
            await follower.refresh()
            admin.execute("update flagstone.environments set revision = 6 where name = 'local'")
            with pytest.raises(Unavailable) as refusal:
                await connector()
            admin.execute("update flagstone.environments set epoch = gen_random_uuid()")
            connection = await connector()
            connection.terminate()
        finally:
            await database.close()
            admin.execute("update flagstone.environments set revision = 0")

    assert refusal.value.code == "database_superseded"


@pytest.fixture
def failover() -> Iterator[Pair]:
    with two_servers() as pair:
        yield pair


@dataclass
class Writer:
    """Writes one key after the other, and records the acknowledged ones."""

    service: Service
    count: int = 0
    acknowledged: list[str] = field(default_factory=list)

    async def write(self) -> bool:
        self.count += 1
        key = f"failover/{self.count}"
        path = f"/v1/environments/local/configurations/{key}"
        body = {"kind": "setting", "value": self.count}
        async with self.service.client.put(
            path, json=body, headers={"If-None-Match": "*"}
        ) as answer:
            if answer.status == 201:
                self.acknowledged.append(key)
            else:
                assert answer.status == 503, await answer.text()
            return answer.status == 201

    async def write_until_acknowledged(self) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not await self.write():  # noqa: ASYNC110 - no event
                await asyncio.sleep(_PAUSE_SECONDS)


def _keys(server: FullServer) -> set[str]:
    with server.admin("flagstone") as admin:
        rows = admin.execute("select key from flagstone.changes where key like 'failover/%'")
        return {str(row[0]) for row in rows}


async def _primary_check(service: Service) -> tuple[str, str]:
    async with service.client.get("/health") as answer:
        (check,) = (await answer.json())["checks"]["database:primary"]
    return check["status"], check.get("output", "")


@pytest.mark.slow
@pytest.mark.parametrize("is_noticed", [True, False])
async def test_former_primary_gets_no_acknowledged_write(
    failover: Pair, tmp_path: Path, *, is_noticed: bool
) -> None:
    """The primary is paused, its standby is promoted, and the primary resumes.

    A pause that is shorter than every timeout breaks no session.
    """
    base = load({"DATA_DIR": str(tmp_path), "SEED_ON_START": "false", "PORT": "1"})
    old, new = failover.primary, failover.standby
    settings = replace(
        base,
        database=replace(
            LIMITS,
            target=failover.target,
            migrator=replace(old.target(MIGRATOR), hosts=failover.target.hosts),
        ),
    )
    async with serving(settings) as service:
        writer, database = Writer(service), service.app[DATABASE]
        for _ in range(3):
            await writer.write_until_acknowledged()
        async with asyncio.timeout(HANG_SECONDS):
            while _keys(new) != set(writer.acknowledged):  # noqa: ASYNC110 - no event
                await asyncio.sleep(_PAUSE_SECONDS)
        with old.frozen():
            writing = [asyncio.create_task(writer.write_until_acknowledged()) for _ in range(4)]
            await asyncio.to_thread(new.promote)
            if is_noticed:
                await asyncio.gather(*writing)
        await asyncio.gather(*writing)
        for _ in range(15):
            await writer.write_until_acknowledged()
            database.primary.renew()
        thawed = await _primary_check(service)
        with new.frozen():
            async with asyncio.timeout(HANG_SECONDS):
                while (without_primary := await _primary_check(service))[0] != "fail":
                    assert not await writer.write()
                    await asyncio.sleep(_PAUSE_SECONDS)
        await writer.write_until_acknowledged()
        for_migrations = await probe(failover.target, settings)

    assert for_migrations.hosts == new.superuser.hosts
    assert set(writer.acknowledged) <= _keys(new)
    assert thawed[0] == "warn"
    assert "timeline 1, but timeline 2 exists" in thawed[1]
    assert "is refused" in without_primary[1]
    restarted = Primary(tmp_path)
    with pytest.raises(Unavailable) as refusal:
        await Connector(old.target(APP), LIMITS, restarted)()
    assert refusal.value.code == "database_superseded"
    assert await _refusal_after_probe(failover, settings) == "database_superseded"


async def _refusal_after_probe(failover: Pair, settings: Settings) -> str:
    """Connect only to the former primary. Return the code of a use after a probe of all hosts."""
    database = Database(LIMITS)
    await database.open(failover.primary.target(APP))
    try:
        async with database.connection() as connection:
            await connection.fetchval("select 1")
        await probe(failover.target, settings, database.primary)
        with pytest.raises(Unavailable) as refusal:
            async with database.connection():
                pass
    finally:
        await database.close()
    return refusal.value.code
