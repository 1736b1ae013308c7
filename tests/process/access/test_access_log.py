"""The lines of the access log, as a collector reads them from standard output."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.format import generate_token
from tests.process.conftest import Process
from tests.waiting import until

# A forged line, and codes that would erase the real one in a terminal.
FORGERY = "%0d%0a%7b%22log%22:%22access%22,%22event%22:%22sensitive_read%22%7d%1b%5b2K%1b%5b1A"
PLACE = "/v1/environments/local/configurations/"


def _lines(process: Process) -> list[dict[str, Any]]:
    """Return the lines of the access log. Check that every line is JSON."""
    lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("log") == "access"]


async def _token(launch: Callable[..., Process], *arguments: str) -> str:
    process = launch(LOG_LEVEL="error", ACCESS_LOG_STDOUT="true")
    await process.start("token", "create", *arguments)
    assert process.child is not None
    assert await process.child.wait() == 0
    # Nothing else is on standard output.
    (token,) = process.log.splitlines()
    return token


async def _status(service: Process, token: str, key: str, request_id: str) -> bytes:
    """Send a request with hostile bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        f"GET {PLACE}{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"X-Request-ID: {request_id}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    return answer.split()[1]


@pytest.mark.slow
async def test_requests_forge_no_line_and_stop_loses_none(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(ACCESS_LOG_STDOUT="true")
    await service.start()
    await service.ready()
    token = await _token(launch, "reader", "--scope", "read", "--environment", "staging")
    headers = {"Authorization": f"Bearer {token}"}

    async def is_known() -> bool:
        async with client.get(f"{service.url}/v1/environments", headers=headers) as answer:
            return answer.status == 200

    # First, since a request with a token that is not known yet counts as a failed attempt.
    async with client.get(service.url + PLACE + "k", headers={"X-API-Key": "~\u2028~"}) as stranger:
        pass
    await until(is_known)
    by_key = await _status(service, token, FORGERY, "one{}")
    by_id = await _status(service, token, "k", "{}\x1b[2K")
    listed = await client.get(
        f"{service.url}/v1/access-log?event=authn_token_created", headers=service.headers
    )
    recorded = (await listed.json())["items"]
    # Before the ten seconds after which the batch would be written anyway.
    code = await service.stop()

    assert (by_key, by_id, stranger.status, code) == (b"403", b"400", 401, 0)
    # The start created the local admin token, which is a line. The command
    # only wrote a row.
    first, *noted = _lines(service)
    assert (first["event"], first["actor"]) == ("authn_token_created", "system:start")
    by_command, at_start = recorded
    assert by_command["actor"].startswith("operator:")
    assert (by_command["resource"], at_start["actor"]) == (token.split("_")[2], "system:start")
    refused = next(line for line in noted if line["event"] == "authz_fail")
    assert refused["resource"] == (r'\r\n{"log":"access","event":"sensitive_read"}\x1b[2K\x1b[1A')
    assert refused["request_id"].isalnum()
    assert "\x1b" not in service.log
    assert {line["event"] for line in noted} == {"authz_fail", "authn_login_fail"}
    assert token not in service.log


async def test_without_the_setting_the_terminal_stays_readable(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch()
    await service.start()
    await service.ready()
    bad = {"X-API-Key": generate_token(is_admin=False).text}
    async with client.get(f"{service.url}/v1/environments", headers=bad) as answer:
        assert answer.status == 401

    assert await service.stop() == 0
    assert _lines(service) == []


@pytest.mark.slow
async def test_operator_trims_old_rows(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch()
    await service.start()
    await service.ready()

    async def trim(before: datetime) -> tuple[int, str]:
        process = launch(LOG_LEVEL="error")
        await process.start(
            "database", "trim-access-log", "--before", f"{before:%Y-%m-%dT%H:%M:%S}"
        )
        assert process.child is not None
        return await process.child.wait(), process.log

    refused = await trim(datetime.now(UTC).astimezone() + timedelta(days=1))
    await asyncio.sleep(1)  # The option takes whole seconds.
    trimmed = await trim(datetime.now(UTC).astimezone())
    async with client.get(f"{service.url}/v1/access-log", headers=service.headers) as answer:
        items = (await answer.json())["items"]

    assert refused == (1, "error: before: must not be in the future\n")
    # The creation of the admin token was trimmed. The record of the trimming remains.
    assert trimmed == (0, "deleted 1 row\n")
    assert [item["event"] for item in items] == ["authz_admin"]
    assert items[0]["actor"].startswith("operator:")


@pytest.mark.slow
async def test_flood_makes_one_line_and_one_row(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(ACCESS_LOG_STDOUT="true", REQUEST_LOG_SAMPLE="0")
    await service.start()
    await service.ready()

    async def knock() -> int:
        headers = {"X-API-Key": generate_token(is_admin=False).text}
        async with client.get(f"{service.url}/v1/environments", headers=headers) as answer:
            return answer.status

    statuses = [await knock() for _ in range(500)]

    # From the eleventh on, tokens are not checked.
    assert set(statuses) == {401, 429}
    assert await service.stop() == 0
    refusals = [line for line in _lines(service) if line["decision"] == "refused"]
    # More than one row of a kind exists only if a batch ended between the requests.
    assert len(refusals) <= 4
    assert sum(line["count"] for line in refusals) == 500
    assert not any(f'"status": {status}' in service.log for status in (401, 429))
