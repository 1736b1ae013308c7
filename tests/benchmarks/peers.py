"""`make bench-peers`: measure npm's unleash-server beside the service, with the same flags.

Each has a PostgreSQL of its own. Both have the same core, and take turns.
"""

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.progress import Progress

from app.database.embedded import EmbeddedServer
from app.threads import in_thread
from tests.benchmarks.cases import Case, measured, repeated
from tests.benchmarks.connection import Answer, Connection, connected
from tests.benchmarks.figures import Figure
from tests.benchmarks.flags import attributes, context, fill, flags, half_splits
from tests.benchmarks.processes import (
    Server,
    Service,
    data_folder,
    free_port,
    running,
    service,
)
from tests.benchmarks.processor import SERVICE, pinned
from tests.benchmarks.puts import new_entries
from tests.benchmarks.results import NotMeasurable
from tests.paths import ROOT

_PACKAGE = "unleash-server@8.2.0"
_FOLDER = ROOT / ".peers"
_INSTALL_SECONDS = 300
_ENVIRONMENT = "peers"
_FLAGS = 1_000
_USERS = 500
_WRITERS = 16
_LOADERS = 8
_ADMIN, _BACKEND, _FRONTEND = "*:*.admin", "default:development.backend", "default:development.web"
_PROJECT = "/api/admin/projects/default"
_FEATURES = f"{_PROJECT}/features"
_CONTEXT_FIELDS = ("country", "email", "plan", "age")
_NO_LIMIT = "1000000000"


async def measure(progress: Progress) -> list[Figure]:
    """Measure evaluations, the read of all definitions, and writes."""
    await in_thread("npm", _install)
    with data_folder() as folder:
        await fill(folder, {_ENVIRONMENT: flags(_FLAGS, half_splits)})
        async with _unleash() as peer:
            strategies = await _fill_unleash(peer, progress)
            with service(folder) as served:
                reads = await measured("peers", _reads(served, peer), progress)
                # After the reads, since a write makes Unleash read its flags again.
                writes = _writes(served, peer, strategies)
                return reads + await measured("peers", writes, progress)


def _install() -> None:
    """Install the package, unless it is installed. Raises NotMeasurable."""
    if (_FOLDER / "node_modules/unleash-server").is_dir():
        return
    options = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
    command = ["npm", "install", *options, "--prefix", str(_FOLDER), _PACKAGE]
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=_INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError):
        raise NotMeasurable(
            f"npm cannot install {_PACKAGE}: make bench-peers needs node, npm and its registry."
        ) from None


@dataclass(frozen=True, kw_only=True)
class _Unleash(Server):
    def request(self, method: str, path: str, token: str, body: Any = None) -> bytes:
        content = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


@asynccontextmanager
async def _unleash() -> AsyncIterator[_Unleash]:
    """Run Unleash on a new embedded PostgreSQL."""
    with data_folder() as folder:
        database = EmbeddedServer(folder)
        with pinned(SERVICE):
            database.start()
        try:
            with _server(database) as (port, pid):
                yield _Unleash(port=port, pid=pid, folder=folder)
        finally:
            database.stop()


@contextmanager
def _server(database: EmbeddedServer) -> Iterator[tuple[int, int]]:
    port, target = free_port(), database.superuser
    variables = {
        "DATABASE_HOST": target.hosts[0][0],
        "DATABASE_USERNAME": target.user or "",
        "DATABASE_PASSWORD": target.password.reveal() if target.password else "",
        "DATABASE_NAME": target.database or "",
        "DATABASE_SSL": "false",
        "DATABASE_POOL_MAX": "10",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "NODE_NO_WARNINGS": "1",
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
        "SDK_API_RATE_LIMIT_PER_MINUTE": _NO_LIMIT,
        "TOKEN_AUTHENTICATION_RATE_LIMIT_PER_MINUTE": _NO_LIMIT,
        "INIT_ADMIN_API_TOKENS": _ADMIN,
        "INIT_BACKEND_API_TOKENS": _BACKEND,
        "INIT_FRONTEND_API_TOKENS": _FRONTEND,
    }
    command = ["node", str(_FOLDER / "node_modules/unleash-server/dist/server.js")]
    with running(command, f"http://127.0.0.1:{port}/health", variables) as pid:
        yield port, pid


async def _fill_unleash(peer: _Unleash, progress: Progress) -> Mapping[str, str]:
    """Create the same flags as `half_splits`. Return the last strategy of each."""
    task = progress.add_task("peers: filling", total=_FLAGS)
    strategies: dict[str, str] = {}
    numbers = iter(range(_FLAGS))

    async def work() -> None:
        async with connected(peer.port) as connection:
            for number in numbers:
                key = f"bench-{number}"
                strategies[key] = await _create_flag(peer, connection, key, number)
                progress.advance(task)

    async with connected(peer.port) as connection:
        for field in _CONTEXT_FIELDS:
            await _ask(peer, connection, "/api/admin/context", {"name": field})
    async with asyncio.TaskGroup() as group:
        for _ in range(_LOADERS):
            group.create_task(work())
    async with connected(peer.port) as connection:
        enable = f"{_PROJECT}/bulk_features/environments/development/on"
        await _ask(peer, connection, enable, {"features": list(strategies)})
    return strategies


async def _create_flag(peer: _Unleash, connection: Connection, key: str, number: int) -> str:
    await _ask(peer, connection, _FEATURES, {"name": key, "type": "release"})
    environment = f"{_FEATURES}/{key}/environments/development"
    identifier = ""
    for strategy in _strategies(key, number):
        answer = await _ask(peer, connection, f"{environment}/strategies", strategy)
        identifier = msgspec.json.decode(answer.body)["id"]
    return identifier


def _strategies(key: str, number: int) -> Iterator[dict[str, Any]]:
    """Yield the equivalent of a rule of `half_splits`: the first strategy that applies counts."""
    if number % 2:
        staff = {"contextName": "email", "operator": "STR_ENDS_WITH", "values": ["@example.com"]}
        yield _rollout(key, 100, staff)
        yield _rollout(key, 25)
    else:
        countries = {"contextName": "country", "operator": "IN", "values": ["CH", "AT", "DE"]}
        yield _rollout(key, 100, countries)


def _rollout(key: str, share: int, *constraints: dict[str, Any]) -> dict[str, Any]:
    parameters = {"rollout": str(share), "stickiness": "userId", "groupId": key}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": constraints}


async def _ask(peer: _Unleash, connection: Connection, path: str, body: Any) -> Answer:
    answer = await connection.ask(peer.request("POST", path, _ADMIN, body))
    if answer.status not in {200, 201}:
        raise RuntimeError(f"Unleash: {path}: {answer.body.decode()}")
    return answer


def _reads(served: Service, peer: _Unleash) -> Mapping[str, Case]:
    path = f"/v1/environments/{_ENVIRONMENT}"
    evaluate = f"{path}/ofrep/v1/evaluate/flags"
    ours = [served.request("POST", evaluate, body=context(user)) for user in range(_USERS)]
    theirs = [
        peer.request("POST", "/api/frontend", _FRONTEND, _unleash_context(user))
        for user in range(_USERS)
    ]
    definitions = peer.request("GET", "/api/client/features", _BACKEND)
    return {
        "Unleash: 1,000 flags": repeated(peer, *theirs),
        "Flagstone: 1,000 flags": repeated(served, *ours, floor="Unleash: 1,000 flags"),
        "Unleash: definitions": repeated(peer, definitions),
        "Flagstone: definitions": repeated(
            served, served.request("GET", f"{path}/flags.json"), floor="Unleash: definitions"
        ),
    }


def _writes(served: Service, peer: _Unleash, strategies: Mapping[str, str]) -> Mapping[str, Case]:
    updates = itertools.cycle(_updates(peer, strategies)).__next__
    return {
        "Unleash: 16 writers": Case(server=peer, make=updates, connections=_WRITERS),
        "Flagstone: 16 writers": Case(
            server=served,
            make=new_entries(served),
            floor="Unleash: 16 writers",
            status=201,
            connections=_WRITERS,
        ),
    }


def _unleash_context(user: int) -> dict[str, Any]:
    given = attributes(user)
    properties = {name: str(given[name]) for name in _CONTEXT_FIELDS}
    return {"context": {"userId": given["targetingKey"], "properties": properties}}


def _updates(peer: _Unleash, strategies: Mapping[str, str]) -> Iterator[bytes]:
    """Yield a write of each flag: a new share of its last strategy."""
    for number, (key, identifier) in enumerate(strategies.items()):
        path = f"{_FEATURES}/{key}/environments/development/strategies/{identifier}"
        yield peer.request("PUT", path, _ADMIN, _rollout(key, number % 101))
