"""Relays for tests, and a gate between a relay and its upstream."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectionResetError, ClientError, ClientSession, ClientTimeout, web

from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import LIFECYCLE
from app.http.protocol import Runner
from app.relay.source import UpstreamSource
from app.relay.status_page import SOURCE
from app.relay.usage import CLIENT
from app.server.application import create_app
from app.settings import load
from tests.ports import free_port
from tests.waiting import HANG_SECONDS

_NOT_PASSED_ON = {"Content-Length", "Transfer-Encoding", "Connection", "Date", "Server"}


@dataclass(frozen=True, kw_only=True)
class Relay:
    """A running relay."""

    app: web.Application
    client: ClientSession
    url: str

    @property
    def source(self) -> UpstreamSource:
        return self.app[SOURCE]

    async def status(self, path: str, token: str) -> int:
        async with self.client.get(path, headers=bearer(token)) as answer:
            return answer.status

    async def reach(self, environment: str, revision: int) -> None:
        await self.app[FOLLOWER].at_least(environment, revision, seconds=HANG_SECONDS)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def relaying(
    upstream: str, token: str, folder: Path, *, starts: bool = True, **variables: str
) -> AsyncIterator[Relay]:
    """Run a relay in this process. With `starts`, wait until it has read its upstream."""
    given = {"DATA_DIR": str(folder), "RELAY_UPSTREAM": upstream, "RELAY_TOKEN": token}
    app = create_app(load({"PORT": "1", **given, **variables}))
    # Relays of one process would be one relay otherwise.
    app[CLIENT].path.relay_id = uuid.uuid4().hex
    runner = Runner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        if starts:
            await asyncio.wait_for(app[LIFECYCLE].started.wait(), HANG_SECONDS)
        async with ClientSession(base_url=url) as client:
            yield Relay(app=app, client=client, url=url)
    finally:
        await runner.cleanup()


@dataclass(kw_only=True)
class Gate:
    """Passes requests on to an upstream, and its answers back: as they are, or changed."""

    upstream: str
    url: str = ""
    # Gets the path and each part of an answer, and returns other bytes, or None to cut it there.
    change: Callable[[str, bytes], bytes | None] = lambda _, part: part
    # Paths whose answers are lost after the upstream has sent them.
    lost: set[str] = field(default_factory=set)
    # Paths whose answers wait for an event, after the upstream has sent them.
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    # The same after each opening. Another process may take an ephemeral one in between.
    _port: int = field(default_factory=free_port)
    _runner: web.AppRunner | None = None

    async def open(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(
            *(self._runner, "127.0.0.1", self._port), ssl_context=self.tls, reuse_address=True
        ).start()
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self._port}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        headers = {k: v for k, v in request.headers.items() if k != "Host"}
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                *(request.method, self.upstream + request.path_qs),
                headers=headers,
                data=await request.read() or None,
                timeout=ClientTimeout(total=None),
            ) as answer,
        ):
            kept = {k: v for k, v in answer.headers.items() if k not in _NOT_PASSED_ON}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if request.path in self.lost:
                await answer.read()
                self.lost.discard(request.path)
                _cut(request)
                return response
            if request.path in self.held:
                self.waiting.append(request.path)
                await asyncio.wait_for(self.held[request.path].wait(), HANG_SECONDS)
            await response.prepare(request)
            with suppress(ClientError, ClientConnectionResetError):
                async for part in answer.content.iter_any():
                    changed = self.change(request.path, part)
                    if changed is None:
                        _cut(request)
                        return response
                    await response.write(changed)
            return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def gated(upstream: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Gate]:
    gate = Gate(upstream=upstream, tls=tls)
    await gate.open()
    try:
        yield gate
    finally:
        await gate.close()


async def put(client: ClientSession, key: str, value: Any, environment: str = "local") -> int:
    """Create or replace a setting, and return its revision."""
    path = f"/v1/environments/{environment}/configurations/{key}"
    async with client.get(path) as answer:
        etag = answer.headers.get("ETag")
    condition = {"If-None-Match": "*"} if etag is None else {"If-Match": etag}
    async with client.put(path, json={"value": value}, headers=condition) as answer:
        assert answer.status in {200, 201}, await answer.text()
        revision: int = (await answer.json())["revision"]
        return revision
