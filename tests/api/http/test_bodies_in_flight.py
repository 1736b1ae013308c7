"""Bodies that are being received have limits of memory and time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.access.models import Scope
from app.http.keys import BUDGET, SETTINGS
from tests.conftest import Service
from tests.waiting import HANG_SECONDS

FLAGS = "/v1/environments/local/ofrep/v1/evaluate/flags"
IMPORT = "/v1/environments/local/import"
BUDGET_BYTES = 400_000
HALF = b'{"context": {"a": "' + b"x" * 150_000


class Sender:
    """A connection that sends a request in parts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), HANG_SECONDS)


class Senders:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: list[Sender] = []

    async def send(self, path: str, body: bytes, *headers: str, token: str = "") -> Sender:
        host, port = self._service.url.removeprefix("http://").split(":")
        sender = Sender(*await asyncio.open_connection(host, int(port)))
        self._open.append(sender)
        token = token or self._service.admin_token
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers]
        if not any(line.startswith("Content-Type") for line in lines):
            lines.append("Content-Type: application/json")
        sender.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return sender

    async def close(self) -> None:
        for sender in self._open:
            sender.writer.close()


@pytest.fixture
async def senders(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Senders]:
    monkeypatch.setattr(service.app[BUDGET], "bytes_max", BUDGET_BYTES)
    senders = Senders(service)
    yield senders
    await senders.close()
    await until_bytes_are(service, 0)


async def until_bytes_are(service: Service, size: int) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while service.app[BUDGET].bytes != size:  # noqa: ASYNC110 - the budget has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "scopes"),
    [(FLAGS, [Scope.EVALUATE]), (IMPORT, [Scope.READ, Scope.WRITE])],
    ids=["evaluation", "import"],
)
async def test_bodies_beyond_the_budget_are_503(
    service: Service, senders: Senders, path: str, scopes: list[Scope]
) -> None:
    token = await service.token(*scopes, environments=("local",))
    length = f"Content-Length: {len(HALF) + 10}"
    held = [await senders.send(path, HALF, length, token=token) for _ in range(2)]
    await until_bytes_are(service, 2 * len(HALF))

    refused = await (await senders.send(path, HALF, length, token=token)).answer()
    small = await (await senders.send(FLAGS, b"{}", "Content-Length: 2")).answer()
    metrics = await (await service.client.get("/metrics")).text()

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in refused
    # A small body arrives together with its head and uses none of the budget.
    assert small.startswith(b"HTTP/1.1 200 ")
    assert f'flagstone_http_body_bytes{{worker="1"}} {2 * len(HALF)}.0' in metrics
    assert "flagstone_http_bodies_refused_total" in metrics

    held[0].writer.write(b'"}}       ')
    assert not (await held[0].answer()).startswith(b"HTTP/1.1 503 ")
    await until_bytes_are(service, len(HALF))
    held[1].writer.close()
    await until_bytes_are(service, 0)


async def test_body_that_stops_coming_is_408(service: Service, senders: Senders) -> None:
    settings = service.app[SETTINGS]
    http = replace(settings.http, body_timeout_seconds=0.3)

    with service.using(SETTINGS, replace(settings, http=http)):
        stopped = await senders.send(FLAGS, HALF, f"Content-Length: {len(HALF) + 10}")
        answer = await stopped.answer()

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", [FLAGS, IMPORT, "/v1/environments/local/changes"])
@pytest.mark.parametrize("encoding", ["gzip, chunked", "Deflate,chunked"])
async def test_unknown_transfer_encoding_is_501(senders: Senders, path: str, encoding: str) -> None:
    body = b"2\r\n{}\r\n0\r\n\r\n"

    answer = await (await senders.send(path, body, f"Transfer-Encoding: {encoding}")).answer()

    assert answer.startswith(b"HTTP/1.1 501 ")


async def test_chunk_extensions_beyond_the_limit_are_413(senders: Senders) -> None:
    sender = await senders.send(FLAGS, b"", "Transfer-Encoding: chunked")
    chunk = b"1;" + b"x" * 60_000 + b"\r\n \r\n"

    for _ in range(40):
        sender.writer.write(chunk)
    answer = await sender.answer()

    assert answer.startswith(b"HTTP/1.1 413 ")
