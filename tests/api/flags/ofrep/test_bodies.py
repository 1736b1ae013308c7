"""Valid and invalid bodies of evaluations. Cn is a line of OFREP's checklist."""

import asyncio
import gzip
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.http.decoder import CONTEXT_BYTES_MAX
from app.http.keys import SETTINGS
from tests.api.flags.ofrep.conftest import BY_PLAN, FLAGS, SWITCH, Client

PRO = {"context": {"targetingKey": "u", "plan": "pro"}}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "application/json; charset=nonsense",
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
    ],
)
async def test_c3_json_is_read_with_any_content_type(ofrep: Client, content_type: str) -> None:
    """A page that sends its JSON as text avoids the preflight."""
    await ofrep.put("plan", BY_PLAN)

    answer = await ofrep.one("plan", PRO, headers={"Content-Type": content_type})

    assert (answer.status, answer.body["value"]) == (200, True)
    assert answer.headers["Content-Type"] == "application/json"


async def test_c7_extra_members_and_any_attributes_are_accepted(
    ofrep: Client,
) -> None:
    await ofrep.put("plan", BY_PLAN)
    attributes = {"deep": {"a": [1, {"b": None}]}, "n": 1.5, "": "", "plan": "pro", "ключ": "ж"}

    answer = await ofrep.one("plan", {"context": attributes, "flag": 1, "type": "boolean"})

    assert (answer.status, answer.body["value"]) == (200, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"nonsense", "PARSE_ERROR"),
        (b"\xff\xfe", "PARSE_ERROR"),
        (b"{} x", "PARSE_ERROR"),
        (b"null", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b'"text"', "PARSE_ERROR"),
        (b"1", "PARSE_ERROR"),
        (b'{"context": null}', "INVALID_CONTEXT"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": "text"}', "INVALID_CONTEXT"),
        (b'{"context": 5}', "INVALID_CONTEXT"),
        (b'{"context": true}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": null}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 5}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "\\ud800"}}', "PARSE_ERROR"),
        (b'{"context": {"\\udfff": 1}}', "PARSE_ERROR"),
        (b'{"context": {"x": NaN}}', "PARSE_ERROR"),
        (b'{"context": {"x": -Infinity}}', "PARSE_ERROR"),
        (b'{"context": {"x": 1e400}}', "PARSE_ERROR"),
        (b'{"context": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "PARSE_ERROR"),
        (b'{"x": ' + b"[" * 100_000, "PARSE_ERROR"),
        (b'{"context": {"x": "' + b"\0" + b'"}}', "PARSE_ERROR"),
    ],
)
async def test_c8_malformed_body_is_400_as_evaluation_failure(
    ofrep: Client, body: bytes, code: str
) -> None:
    await ofrep.put("plan", BY_PLAN)

    one, every = await ofrep.one("plan", body), await ofrep.all(body)

    assert (one.status, one.body["key"], one.body["errorCode"]) == (400, "plan", code)
    assert (every.status, every.body["errorCode"]) == (400, code)
    assert "key" not in every.body
    assert one.body["errorDetails"] == every.body["errorDetails"] != ""


@pytest.mark.parametrize(
    "number", [b"9" * 30, b"-" + b"9" * 300, b"9" * 10_000, b"1.5e308", b"5e-324", b"1e999"]
)
async def test_huge_number_in_the_context_fails_its_flag_only(ofrep: Client, number: bytes) -> None:
    await ofrep.put("plan", BY_PLAN)

    answer = await ofrep.one("plan", b'{"context": {"plan": "pro", "n": ' + number + b"}}")

    assert (answer.status, answer.body.get("value", answer.body.get("errorCode"))) in [
        (200, True),
        (400, "PARSE_ERROR"),
    ]


async def test_last_of_repeated_names_counts_as_in_javascript(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)

    answer = await ofrep.one("plan", b'{"context": {"plan": "free", "plan": "pro"}}')

    assert (answer.status, answer.body["value"]) == (200, True)


async def test_c8_compressed_body_is_415(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)
    body = gzip.compress(json.dumps(PRO).encode())

    one = await ofrep.one("plan", body, headers={"Content-Encoding": "gzip"})
    every = await ofrep.all(body, headers={"Content-Encoding": "gzip"})

    assert (one.status, one.body["errorCode"]) == (415, "GENERAL")
    assert (every.status, every.body["errorCode"]) == (415, "GENERAL")


async def test_context_beyond_256_kib_is_413(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)
    body = b'{"context": {"plan": "pro"}}'

    largest = await ofrep.one("plan", body.ljust(CONTEXT_BYTES_MAX))
    too_large = await ofrep.one("plan", body.ljust(CONTEXT_BYTES_MAX + 1))

    assert (largest.status, largest.body["value"]) == (200, True)
    assert (too_large.status, too_large.body["errorCode"]) == (413, "GENERAL")
    assert too_large.body["key"] == "plan"


async def _send(ofrep: Client, *parts: bytes) -> tuple[bytes, dict[str, object]]:
    """Send a request in parts, each when the last one has arrived, and return the answer."""
    reader, writer = await asyncio.open_connection(*ofrep.address)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.02)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, json.loads(body)


async def test_body_is_accepted_in_pieces(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)
    body = json.dumps(PRO).encode()
    head = ofrep.head(f"{FLAGS}/plan", len(body))
    chunked = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    pieces = [b"5\r\n%b\r\n" % body[:5], b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body[5:])]

    answers = [
        await _send(ofrep, head, body[:7], body[7:]),
        await _send(ofrep, chunked, *pieces),
        await _send(ofrep, chunked + b"".join(pieces)),
    ]

    assert [answer["value"] for _, answer in answers] == [True, True, True]


@pytest.mark.slow
async def test_chunked_body_has_the_same_limit(ofrep: Client) -> None:
    head = ofrep.head(FLAGS).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"

    status, failure = await _send(ofrep, head, *[chunk] * 17)

    assert status.startswith(b"HTTP/1.1 413 ")
    assert failure["errorCode"] == "GENERAL"


@pytest.mark.slow
async def test_badly_framed_body_is_an_evaluation_failure(ofrep: Client) -> None:
    settings = ofrep.service.app[SETTINGS]
    http = replace(settings.http, body_timeout_seconds=0.2)
    head = ofrep.head(FLAGS, 100)
    chunked = head.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")

    with ofrep.service.using(SETTINGS, replace(settings, http=http)):
        late, late_failure = await _send(ofrep, head, b'{"context"')
    wrong, wrong_failure = await _send(ofrep, chunked, b"nonsense\r\n")

    assert late.startswith(b"HTTP/1.1 408 ")
    assert wrong.startswith(b"HTTP/1.1 400 ")
    assert (late_failure["errorCode"], wrong_failure["errorCode"]) == ("GENERAL", "GENERAL")


async def test_client_gone_before_body_is_sent_is_no_error(ofrep: Client) -> None:
    with capture_logs() as logged:
        _, writer = await asyncio.open_connection(*ofrep.address)
        writer.write(ofrep.head(FLAGS, 100) + b"{")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)

    assert [entry for entry in logged if entry["log_level"] == "error"] == []


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"context": {}}', b' {"other": 1} '])
async def test_c9_no_body_no_context_and_no_targeting_key_are_fine(
    ofrep: Client, body: bytes | None
) -> None:
    by_user = SWITCH | {"targeting": {"fractional": [["on", 0], ["off", 1]]}}
    await ofrep.put("by-user", by_user)
    await ofrep.put("plan", BY_PLAN)

    one, every = await ofrep.one("plan", body), await ofrep.all(body)

    assert (one.status, one.body["value"]) == (200, False)
    assert every.flags["plan"]["value"] is False
    # Without a value to hash, the flag has its default.
    assert every.flags["by-user"]["reason"] in {"DEFAULT", "TARGETING_MATCH"}
