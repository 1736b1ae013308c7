"""A TCP proxy in front of a database server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from app.settings import Target


@dataclass
class Proxy:
    """Forwards bytes to a server, counts connections, and can simulate a dead network."""

    upstream: tuple[str, int]
    port: int = 0
    connections: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        host, port = self.upstream
        try:
            server_reader, server_writer = await (
                asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
                if host.startswith("/")
                else asyncio.open_connection(host, port)
            )
        except OSError:
            writer.close()  # the server is down
            return
        try:
            # Only the end of the proxy cancels this task. asyncio would log the cancellation.
            with suppress(asyncio.CancelledError):
                await asyncio.gather(
                    self._forward(reader, server_writer), self._forward(server_reader, writer)
                )
        finally:
            for sink in (writer, server_writer):
                sink.close()
                with suppress(OSError):
                    await sink.wait_closed()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self.flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def proxied(target: Target) -> AsyncIterator[tuple[Proxy, Target]]:
    """Yield a proxy to the only host of the target, and the target behind the proxy."""
    proxy = Proxy(upstream=target.hosts[0])
    proxy.flowing.set()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy, replace(target, hosts=(("127.0.0.1", proxy.port),))
    finally:
        listener.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
