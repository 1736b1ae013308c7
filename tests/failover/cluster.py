"""Two Patroni nodes, etcd, and replicas of the service that know both nodes.

The harness is the network: replication and the connections to etcd pass through its proxies.
Clients and the service connect to both nodes directly.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from aiohttp import ClientError, ClientSession, ClientTimeout

from app.database.migrations.runner import Migrator
from app.database.role_names import APP, MIGRATOR
from app.database.roles.provision import Provisioner
from app.settings import load
from tests.database.proxy import Proxy
from tests.failover.nodes import (
    PASSWORD,
    SUPERUSER,
    Etcd,
    Node,
    free_port,
    make_etcd,
    make_node,
    started,
)
from tests.process.conftest import Process
from tests.process.history.cluster import AWAY, Admin, Cluster, Replica

REPLICAS = 3
HEALTHY_SECONDS = 120.0
_POLL_SECONDS = 0.05
_API_SECONDS = 3.0
# The first replica creates these in the local tier. The others need the same.
_SHARED_FILES = ("admin-token", "key-ring", "token-key")
_SETTINGS = {
    "SEED_ON_START": "false",
    "REQUEST_LOG_SAMPLE": "0",
    "MIGRATE_ON_START": "false",
}


class UnhealthyError(Exception):
    """The cluster does not get healthy in time. The message says what is missing."""


@dataclass(frozen=True)
class PatroniCluster(Cluster):
    """The replicas, with the nodes and the proxies in front of them."""

    nodes: tuple[Node, ...]
    replication: Mapping[str, Proxy]
    to_etcd: Mapping[str, Proxy]
    client: ClientSession
    is_synchronous: bool

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Admin]:
        """Connect to the leader as the superuser."""
        leader, _ = await self.leader_and_standby()
        connection: Admin = await asyncpg.connect(
            host="127.0.0.1",
            port=leader.port,
            user=SUPERUSER,
            password=PASSWORD,
            database="flagstone",
            timeout=5,
            command_timeout=30,
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def leader_and_standby(self) -> tuple[Node, Node]:
        """Wait until Patroni reports one leader and one streaming standby, both healthy."""
        reason = "no answer"
        try:
            async with asyncio.timeout(HEALTHY_SECONDS):
                while True:
                    if ended := [node.name for node in self.nodes if node.has_ended]:
                        raise UnhealthyError(f"Patroni of {ended} has ended; read its log")
                    members = await self.members()
                    reason = str(members)
                    found = self._healthy(members)
                    if found is not None and await is_primary(found[0]):
                        return found
                    await asyncio.sleep(10 * _POLL_SECONDS)
        except TimeoutError:
            raise UnhealthyError(f"after {HEALTHY_SECONDS:.0f} s: {reason}") from None

    def _healthy(self, members: list[dict[str, Any]]) -> tuple[Node, Node] | None:
        by_name = {node.name: node for node in self.nodes}
        standby_role = "sync_standby" if self.is_synchronous else "replica"
        roles = {member["role"]: by_name[member["name"]] for member in members}
        states = {member["state"] for member in members}
        lags = {member.get("lag", 0) for member in members}
        is_one_timeline = len({member.get("timeline") for member in members}) == 1
        if set(roles) != {"leader", standby_role} or not states <= {"running", "streaming"}:
            return None
        return (roles["leader"], roles[standby_role]) if is_one_timeline and lags == {0} else None

    async def members(self) -> list[dict[str, Any]]:
        """Return the members as the first Patroni that answers reports them."""
        for node in self.nodes:
            with suppress(ClientError, OSError):
                async with self.client.get(
                    f"http://127.0.0.1:{node.api_port}/cluster",
                    timeout=ClientTimeout(total=_API_SECONDS),
                ) as answer:
                    members: list[dict[str, Any]] = (await answer.json())["members"]
                    return members
        return []

    async def switch_over(self, old: Node, new: Node) -> None:
        async with self.client.post(
            f"http://127.0.0.1:{old.api_port}/switchover",
            json={"leader": old.name, "candidate": new.name},
            timeout=ClientTimeout(total=HEALTHY_SECONDS),
        ) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise UnhealthyError(f"the switchover was refused: {text}")


async def is_primary(node: Node) -> bool:
    try:
        ((is_standby,),) = await node.query("select pg_is_in_recovery()")
    except AWAY:
        return False
    return not is_standby


async def wait_for_primary(node: Node) -> None:
    async with asyncio.timeout(HEALTHY_SECONDS):
        while not await is_primary(node):  # noqa: ASYNC110 - no event
            await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def running(folder: Path, *, synchronous: bool) -> AsyncIterator[PatroniCluster]:
    """Yield a healthy cluster with ready replicas, and end all of it."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ClientSession())
        etcd = make_etcd(folder / "etcd")
        nodes, replication, to_etcd = [], {}, {}
        for name in ("a", "b"):
            port = free_port()
            replication[name] = await stack.enter_async_context(_proxied(port))
            to_etcd[name] = await stack.enter_async_context(_proxied(etcd.port))
            nodes.append(
                make_node(
                    folder / name,
                    name,
                    port=port,
                    replication_port=replication[name].port,
                    etcd_port=to_etcd[name].port,
                    synchronous=synchronous,
                )
            )
        replicas: list[Replica] = []
        cluster = PatroniCluster(
            folder=folder,
            replicas=(),
            headers={},
            nodes=tuple(nodes),
            replication=replication,
            to_etcd=to_etcd,
            client=client,
            is_synchronous=synchronous,
        )
        stack.enter_context(started([*nodes, etcd]))
        await _start_nodes(etcd, cluster)
        leader, _ = await cluster.leader_and_standby()
        url = await asyncio.to_thread(_provisioned, folder, leader, nodes)
        stack.push_async_callback(_end, replicas)
        for number in range(REPLICAS):
            replicas.append(_make_replica(folder, number, url))
            if number == 0:
                await replicas[0].start()
                continue
            for name in _SHARED_FILES:
                shutil.copy2(folder / "r0" / name, folder / f"r{number}" / name)
        await asyncio.gather(*(replica.start() for replica in replicas[1:]))
        yield PatroniCluster(
            **{
                **vars(cluster),
                "replicas": tuple(replicas),
                "headers": replicas[0].process.headers,
            }
        )


async def _start_nodes(etcd: Etcd, cluster: PatroniCluster) -> None:
    etcd.start()
    first, second = cluster.nodes
    first.start()
    # Started together, either of them may initialise the cluster.
    await wait_for_primary(first)
    second.start()


@asynccontextmanager
async def _proxied(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream=("127.0.0.1", port))
    proxy.flowing.set()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)


def _provisioned(folder: Path, leader: Node, nodes: list[Node]) -> str:
    """Create roles, database and schema. Return the URL of the app role with both hosts."""
    settings = load({}).database
    provisioner = Provisioner(
        admin=leader.superuser, settings=settings, folder=folder / "credentials"
    )
    provisioner.provision()
    targets = provisioner.targets()
    Migrator(target=targets[MIGRATOR], settings=settings, instance="failover").migrate()
    app = targets[APP]
    assert app.password is not None
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    credentials = f"{app.user}:{quote(app.password.reveal(), safe='')}"
    query = "sslmode=disable&target_session_attrs=read-write"
    return f"postgresql://{credentials}@{hosts}/{app.database}?{query}"


def _make_replica(folder: Path, number: int, url: str) -> Replica:
    name = f"r{number}"
    data = folder / name
    data.mkdir()
    environment = {**_SETTINGS, "INSTANCE_ID": name, "DATABASE_URL": url}
    return Replica(name, Process(data, free_port(), environment=environment, is_fork=False))


async def _end(replicas: list[Replica]) -> None:
    for replica in replicas:
        child = replica.process.child
        if child is not None and child.returncode is None:
            child.kill()
            await child.wait()
