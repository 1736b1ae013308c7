"""Several hosts: one of them refuses, answers late, or was the primary once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import asyncpg
import pytest

from app.database.connector import Connector, Session
from app.database.roles import APP
from app.settings import Target, load
from tests.database.full_postgres import FullServer, full_server, standby_of

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
        """The app role's way to both; the standby comes first."""
        hosts = (*self.standby.superuser.hosts, *self.primary.superuser.hosts)
        return replace(self.primary.target(APP), hosts=hosts)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with full_server(tls=False) as primary:
        primary.provisioner.provision()
        with standby_of(primary) as standby:
            yield Pair(primary=primary, standby=standby)


async def _port(connection: Session) -> int:
    return int(await connection.fetchval("select current_setting('port')::int"))


async def _set_rules(server: FullServer, rules: str, *, refuses: bool) -> None:
    (server.folder / "data" / "pg_hba.conf").write_text(rules)
    with server.admin() as admin:
        admin.execute("select pg_reload_conf()")
    connector = Connector(server.target(APP), LIMITS)
    async with asyncio.timeout(20):
        while True:  # a reload gives no sign
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
    """The standby's own rules keep the app role out."""
    rules = (pair.standby.folder / "data" / "pg_hba.conf").read_text()
    await _set_rules(pair.standby, f"host all {APP} all reject\n{rules}", refuses=True)
    yield
    await _set_rules(pair.standby, rules, refuses=False)


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


async def test_busy_loop_two_answers_at_once_returns_primary(pair: Pair) -> None:
    """The answers of both hosts are often found in one iteration of a loop that is held up."""
    is_over = False

    async def hold_up() -> None:
        while not is_over:
            time.sleep(0.02)  # noqa: ASYNC251 - this is the load
            await asyncio.sleep(0)

    load = asyncio.create_task(hold_up())
    connector = Connector(pair.target, LIMITS)
    try:
        for _ in range(12):
            connection = await connector()
            connection.terminate()
    finally:
        is_over = True
        await load
