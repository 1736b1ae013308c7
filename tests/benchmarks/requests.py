"""Measure reads and refusals against a bare handler with a body as large as an entry."""

from collections.abc import Mapping

import msgspec
from rich.progress import Progress

from app.access.format import generate_token
from tests.benchmarks.cases import Case, measured, repeated
from tests.benchmarks.connection import Connection, connected, require_good
from tests.benchmarks.figures import Figure
from tests.benchmarks.floor import UNCHANGED
from tests.benchmarks.processes import LOCAL, Server, Service, data_folder, floor, service

_ENTRIES = f"{LOCAL}/configurations"
_ENTRY = f"{_ENTRIES}/checkout/retries"
_BARE, _BARE_UNCHANGED = "bare handler", "bare handler, 304"
_INVALID_TOKENS_MAX = 10


async def measure(progress: Progress) -> list[Figure]:
    """Measure reads, a probe and refusals against the two bare handlers."""
    with data_folder() as folder, service(folder) as served:
        async with connected(served.port) as connection:
            entry = await connection.ask(served.request("GET", _ENTRY))
            require_good(entry)
            foreign = await _issue_foreign_token(served, connection)
            with floor(len(entry.body)) as bare:
                cases = {
                    **_reads(served, bare, entry.header("ETag")),
                    **_refusals(served, foreign),
                }
                figures = await measured("requests", cases, progress)
            limited = await _exceed_attempts(connection)
        # Apart from the others, since the limit ends after a minute.
        cases = {"429": repeated(served, limited, status=429)}
        return figures + await measured("requests", cases, progress)


def _reads(served: Service, bare: Server, etag: str) -> Mapping[str, Case]:
    def got(path: str, headers: str = "", floor: str = _BARE, status: int = 200) -> Case:
        request = served.request("GET", path, headers)
        return repeated(served, request, floor=floor, status=status)

    return {
        _BARE: repeated(bare, _get("/"), floor=_BARE),
        _BARE_UNCHANGED: repeated(bare, _get(UNCHANGED), floor=_BARE_UNCHANGED, status=304),
        "GET one entry": got(_ENTRY),
        "GET one entry, 304": got(_ENTRY, f"If-None-Match: {etag}\r\n", _BARE_UNCHANGED, 304),
        "GET a page of the list": got(_ENTRIES),
        "GET /health/live": got("/health/live"),
    }


def _refusals(served: Service, foreign: str) -> Mapping[str, Case]:
    requests = {
        401: _get(_ENTRY),
        403: _get(_ENTRY, foreign),
        404: served.request("GET", f"{_ENTRIES}/checkout/missing"),
    }
    return {
        str(status): repeated(served, request, floor=_BARE, status=status)
        for status, request in requests.items()
    }


def _get(path: str, token: str = "") -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n".encode()


async def _issue_foreign_token(served: Service, connection: Connection) -> str:
    """Return a token for another environment."""
    wanted = {"name": "bench", "scopes": ["read"], "environments": ["staging"]}
    body = msgspec.json.encode(wanted)
    answer = await connection.ask(served.request("POST", "/v1/tokens", body=body))
    require_good(answer)
    return str(msgspec.json.decode(answer.body)["text"])


async def _exceed_attempts(connection: Connection) -> bytes:
    """Send an invalid token until the rate limit refuses it, and return that request."""
    request = _get(_ENTRY, generate_token(is_admin=False).text)
    for _ in range(_INVALID_TOKENS_MAX + 1):
        await connection.ask(request)
    return request
