"""The ticket in a stream's URL (C38 of OFREP's checklist): a secret that opens one stream only."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from yarl import URL

from app.access.directory import TokenDirectory
from app.access.models import Scope
from app.access.rate_limit import RATE_LIMIT
from tests.api.flags.ofrep.conftest import SHOP, Client
from tests.api.flags.ofrep.listening import listening
from tests.conftest import Server
from tests.waiting import HANG_SECONDS


async def test_c38_forged_foreign_and_spoilt_tickets_are_refused_alike(ofrep: Client) -> None:
    url = (await ofrep.all()).stream
    raw = urlsafe_b64decode(url.name)
    mac, name = raw[:24], raw[24:]
    token_id = name.partition(b"/")[0]
    reader = await ofrep.service.token(Scope.READ, environments=("local",))
    forged = [
        b"",
        mac,
        name,
        bytes(24) + name,
        mac + token_id + b"/staging",
        mac + token_id + b"/*",
        mac + token_id + b"/",
        mac + reader.split("_")[2].encode() + b"/local",
        bytes((mac[0] ^ 1,)) + raw[1:],
    ]
    tickets = [urlsafe_b64encode(text).decode() for text in forged]

    answers = []
    spoilt = [f"{url.name}x", f"{url.name}%0A", f"!{url.name}", url.name.rstrip("=")[:-1]]
    for ticket in (*tickets, *spoilt, "x", "%FF", "%C3%BC", "-", "..%2F..%2Fhealth", ofrep.token):
        address = URL(f"{ofrep.service.url}/ofrep/v1/streams/{ticket or '-'}", encoded=True)
        # test_failures.py tests the limit of such attempts.
        ofrep.service.app[RATE_LIMIT].forget()
        async with ofrep.session.get(address, headers={"Origin": SHOP}) as answer:
            answers.append((answer.status, (await answer.json())["errorCode"]))
            assert answer.headers["Access-Control-Allow-Origin"] == "*"

    assert set(answers) == {(401, "GENERAL")}


async def test_c38_a_ticket_is_good_for_its_stream_alone(ofrep: Client) -> None:
    ticket = (await ofrep.all()).stream.name
    bearer = replace(ofrep, token=ticket)

    answers = [await bearer.all(), await bearer.one("plan")]

    assert [answer.status for answer in answers] == [401, 401]


async def test_c38_no_log_line_has_the_ticket(
    ofrep: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    url = (await ofrep.all()).stream
    with capture_logs() as logged:
        async with listening(ofrep, url) as stream:
            await stream.next()
        async with ofrep.session.get(f"{url}x") as refused:
            await refused.read()
        async with ofrep.session.post(url) as wrong_method:
            await wrong_method.read()
        async with asyncio.timeout(HANG_SECONDS):
            while not any(entry.get("status") == 405 for entry in logged):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    text = f"{logged} {caplog.text}"
    assert "/ofrep/v1/streams/{ticket}" in text
    assert url.name not in text


async def test_c38_stream_of_a_revoked_token_ends(ofrep: Client) -> None:
    async with listening(ofrep) as stream:
        await stream.next()
        await ofrep.service.revoke(ofrep.token)
        rest = await stream.end()
        async with ofrep.session.get(stream.answer.url) as again:
            pass

    assert b"data:" not in rest
    assert again.status == 401


@pytest.mark.slow
async def test_c38_the_stream_of_a_token_ends_with_it(ofrep: Client) -> None:
    token = await ofrep.service.token(
        Scope.EVALUATE,
        environments=("local",),
        expires_at=datetime.now(UTC) + timedelta(seconds=5),
    )

    async with listening(replace(ofrep, token=token)) as stream:
        await stream.next()
        rest = await stream.end()

    assert b"data:" not in rest


async def test_c38_stream_of_a_token_without_evaluate_ends(ofrep: Client, server: Server) -> None:
    async with listening(ofrep) as stream:
        await stream.next()
        with server.admin("suite") as connection:
            connection.execute("update flagstone.tokens set scopes = '{read}' where name = 'test'")
        rest = await stream.end()

    assert b"data:" not in rest


async def test_stream_before_tokens_are_read_asks_to_retry(
    ofrep: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is a stream that ends: after another status a browser does not reconnect."""
    url = (await ofrep.all()).stream
    monkeypatch.setattr(TokenDirectory, "is_loaded", False)

    async with ofrep.session.get(url) as answer:
        body = await answer.read()

    assert (answer.status, body) == (200, b"retry: 2000\n\n")
    assert answer.headers["Content-Type"] == "text/event-stream"
