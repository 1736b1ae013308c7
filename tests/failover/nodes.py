"""Run etcd and Patroni, each with its own session, so that Ctrl-C ends this program first."""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from app.settings import Secret, Target, Tls, TlsMode
from tests.database.full_postgres import account, own
from tests.failover import programs

SUPERUSER = "postgres"
# Strong enough for every tier, and new in each run.
PASSWORD = f"Rowan7-kestrel-{secrets.token_hex(8)}"
_REPLICATOR = "replicator"
_STOP_SECONDS = 30
_CONNECT_SECONDS = 2.0

# The recommended settings of docs/high-availability.md.
TTL_SECONDS = 20
_DYNAMIC = {
    "ttl": TTL_SECONDS,
    "loop_wait": 5,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1_048_576,
    "postgresql": {"use_pg_rewind": True, "use_slots": True},
}
_RULES = [
    "local all all scram-sha-256",
    "host all all 127.0.0.1/32 scram-sha-256",
    f"host replication {_REPLICATOR} 127.0.0.1/32 scram-sha-256",
]


# Not those of tests.ports: a node is down for seconds, and a suite beside this test could take its
# port meanwhile. Below the kernel's ephemeral ports.
_PORTS = iter(random.sample(range(10_000, 19_000), 9_000))


def free_port() -> int:
    """Return a free port, and never the same one twice."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Daemon:
    """A process with its log, in a folder that its account owns."""

    command: Sequence[str | Path]
    folder: Path
    child: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **account(),
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and to those that it has started in its session."""
        if self.child is not None and self.child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    @property
    def has_ended(self) -> bool:
        return self.child is not None and self.child.poll() is not None

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.child is not None:
            self.child.wait(_STOP_SECONDS)


@dataclass(kw_only=True)
class Etcd(Daemon):
    port: int


def make_etcd(folder: Path) -> Etcd:
    port, peer_port = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command: list[str | Path] = [
        *(programs.etcd(), "--name=one", f"--data-dir={folder / 'data'}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        *(f"--initial-cluster=one={peer}", "--unsafe-no-fsync", "--log-level=error"),
    ]
    return Etcd(command=command, folder=_made(folder), port=port)


@dataclass(kw_only=True)
class Node(Daemon):
    """Patroni with its PostgreSQL. The other node replicates through `replication_port`."""

    name: str
    port: int
    api_port: int
    data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"

    @property
    def superuser(self) -> Target:
        return Target(
            hosts=(("127.0.0.1", self.port),),
            database="postgres",
            user=SUPERUSER,
            password=Secret(PASSWORD),
            tls=Tls(mode=TlsMode.DISABLE),
        )

    def postgres(self) -> list[psutil.Process]:
        """Return the processes of PostgreSQL, the postmaster first; none if it is down."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            # Another process may have got the number of a postmaster that was killed.
            if postmaster.name() != "postgres":
                return []
            return [postmaster, *postmaster.children(recursive=True)]
        except (OSError, IndexError, ValueError, psutil.NoSuchProcess):
            return []

    def signal_postgres(self, number: signal.Signals) -> None:
        processes = self.postgres()
        # Resume the postmaster last: it must not see children that are still stopped.
        for process in reversed(processes) if number is signal.SIGCONT else processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill_all(self) -> None:
        """Kill Patroni, which would start PostgreSQL again, then PostgreSQL."""
        self.kill()
        self.signal_postgres(signal.SIGKILL)

    async def query(self, query: str, *arguments: object, database: str = "postgres") -> Any:
        """Return the rows. Raises the errors of asyncpg and OSError."""
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=PASSWORD,
            database=database,
            timeout=_CONNECT_SECONDS,
            command_timeout=_CONNECT_SECONDS,
        )
        try:
            return await connection.fetch(query, *arguments)
        finally:
            connection.terminate()


def make_node(
    folder: Path, name: str, *, port: int, replication_port: int, etcd_port: int, synchronous: bool
) -> Node:
    """Write the configuration of Patroni, as JSON: Patroni reads YAML, and JSON is YAML."""
    node = Node(
        command=[programs.patroni(), folder / "patroni.yml"],
        folder=_made(folder),
        name=name,
        port=port,
        api_port=free_port(),
    )
    api = f"127.0.0.1:{node.api_port}"
    configuration = {
        "scope": "flagstone",
        "name": name,
        "restapi": {"listen": api, "connect_address": api},
        # As a proxy: otherwise Patroni asks etcd for its address, and uses that.
        "etcd3": {"hosts": [f"127.0.0.1:{etcd_port}"], "use_proxies": True},
        "bootstrap": {
            "dcs": {**_DYNAMIC, "synchronous_mode": synchronous},
            "initdb": [{"encoding": "UTF8"}, "data-checksums", "no-sync"],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{port}",
            "connect_address": f"127.0.0.1:{replication_port}",
            "data_dir": str(node.data),
            "bin_dir": str(programs.postgres_folder()),
            "pgpass": str(folder / "pgpass"),
            "pg_hba": _RULES,
            "authentication": {
                "superuser": {"username": SUPERUSER, "password": PASSWORD},
                "replication": {"username": _REPLICATOR, "password": PASSWORD},
            },
            "parameters": {
                "unix_socket_directories": str(folder),
                "shared_buffers": "32MB",
                "max_connections": 100,
            },
        },
    }
    file = folder / "patroni.yml"
    file.write_text(json.dumps(configuration))
    own(file)
    file.chmod(0o600)
    return node


@contextmanager
def started(daemons: Sequence[Daemon]) -> Iterator[None]:
    """End the daemons with their PostgreSQL, also when the start of one fails."""
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.send(signal.SIGCONT)
            daemon.kill()
            if isinstance(daemon, Node):
                daemon.signal_postgres(signal.SIGCONT)
                # PostgreSQL frees its shared memory on SIGQUIT, not on SIGKILL.
                postmaster = daemon.postgres()[:1]
                for process in postmaster:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGQUIT)
                psutil.wait_procs(postmaster, timeout=_STOP_SECONDS)


def _made(folder: Path) -> Path:
    folder.mkdir()
    own(folder)
    return folder
