"""A browser's side of a stream of refetchEvaluation events, which has only the URL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from yarl import URL

from tests.api.flags.ofrep.conftest import Client
from tests.api.sse import Stream, streaming


@asynccontextmanager
async def listening(
    ofrep: Client, url: URL | None = None, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    url = url or (await ofrep.all()).stream
    async with streaming(ofrep.session, url, dict(headers or {})) as stream:
        yield stream
