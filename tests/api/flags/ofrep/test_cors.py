"""CORS: a page of another origin may read every answer. Cn is a line of OFREP's checklist."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import hdrs

from app.configuration.snapshots.follower import Follower
from app.evaluation.engine import Flag
from app.flags.ofrep.cors import ASKED_HEADERS_MAX
from tests.api.flags.ofrep.conftest import BY_PLAN, FAILING, FLAGS, LOCAL, SHOP, Answer, Client

PAGE = "https://anywhere.example"
ALLOWED = hdrs.ACCESS_CONTROL_ALLOW_ORIGIN
EXPOSED = {"ETag", "Retry-After", "X-Request-ID", "Flagstone-Revision", "Flagstone-Stale"}
PATHS = (FLAGS, f"{FLAGS}/plan", LOCAL + FLAGS, f"{LOCAL}{FLAGS}/a/b", "/ofrep/v1/streams/x")


@pytest.mark.parametrize("path", PATHS)
async def test_c40_preflight_without_token_allows_client_headers(ofrep: Client, path: str) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,if-none-match,authorization,x-api-key",
    }

    async with ofrep.session.options(ofrep.service.url + path, headers=asked) as answer:
        text = await answer.text()

    allowed = answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS].split(", ")
    assert (answer.status, text) == (204, "")
    assert answer.headers[ALLOWED] == "*"
    assert "POST" in answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS]
    assert {"authorization", "content-type", "if-none-match", "x-api-key"} == set(allowed)
    assert int(answer.headers[hdrs.ACCESS_CONTROL_MAX_AGE]) > 0
    assert hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS not in answer.headers


TRACING = (
    *("traceparent", "tracestate", "baggage", "sentry-trace", "x-request-id"),
    *("flagd-selector", "x-requested-with", "x-anything_else.1"),
)


async def _allowed(ofrep: Client, asked: str, path: str = FLAGS) -> list[str]:
    reader, writer = await asyncio.open_connection(*ofrep.address)
    writer.write(
        f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {PAGE}\r\n"
        f"Access-Control-Request-Method: POST\r\n{asked}\r\n".encode("latin-1")
    )
    head = (await reader.read()).decode("latin-1")
    writer.close()
    assert head.startswith("HTTP/1.1 204 ")
    (line,) = [x for x in head.split("\r\n") if x.startswith("Access-Control-Allow-Headers: ")]
    return line.removeprefix("Access-Control-Allow-Headers: ").split(", ")


@pytest.mark.parametrize("path", PATHS)
async def test_preflight_for_tracing_headers_allows_them(ofrep: Client, path: str) -> None:
    asked = f"Access-Control-Request-Headers: {', '.join(TRACING).title()}\r\n"

    allowed = await _allowed(ofrep, asked, path)

    assert {*TRACING, "authorization", "content-type"} < set(allowed)
    assert len(set(allowed)) == len(allowed)


@pytest.mark.parametrize(
    "asked",
    [
        *("a b", "x: y", 'x"', "<x>", "ü", "x;y", "x\ty", "x" * 65, "(x)", ",,,", ""),
        # Each line of the request is a separate header. The answer repeats none of them.
        "a\r\nSet-Cookie: b=c",
    ],
)
async def test_preflight_with_invalid_header_name_echoes_nothing(ofrep: Client, asked: str) -> None:
    allowed = await _allowed(ofrep, f"Access-Control-Request-Headers: {asked}\r\n")

    assert set(allowed) - {"a"} == {"authorization", "content-type", "if-none-match", "x-api-key"}


async def test_preflight_for_very_many_headers_is_bounded(ofrep: Client) -> None:
    names = ",".join(f"x-{number}" for number in range(500))

    allowed = await _allowed(ofrep, f"Access-Control-Request-Headers: {names}\r\n" * 3)

    assert len(allowed) == ASKED_HEADERS_MAX + 4


async def _one_of_each(ofrep: Client, origin: str) -> dict[int, Answer]:
    """Return an answer of every status."""
    await ofrep.put("plan", BY_PLAN)
    await ofrep.put_unchecked("failing", FAILING)
    sent = {"Origin": origin}
    stranger = replace(ofrep, token="")
    reader = replace(ofrep, token=ofrep.service.admin_token, base="/v1/environments/nowhere")
    first = await ofrep.all(headers=sent)
    epoch = first.headers["Flagstone-Revision"].partition(":")[0]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Flag, "evaluate", None)
        broken = await ofrep.one("plan", headers=sent)
    answers = [
        first,
        broken,
        await ofrep.all(headers=sent | {"If-None-Match": "*"}),
        await ofrep.one("failing", headers=sent),
        await stranger.one("plan", headers=sent),
        await replace(ofrep, base="/v1/environments/staging").one("plan", headers=sent),
        await ofrep.one("nothing", headers=sent),
        await reader.one("plan", headers=sent),
        await ofrep.one("plan", b" " * (2**20 + 1), headers=sent),
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Follower.at_least, "__kwdefaults__", {"seconds": 0.01})
        answers.append(await ofrep.all(query=f"?flagConfigEtag={epoch}:999", headers=sent))
    return {answer.status: answer for answer in answers}


async def test_c41_every_answer_may_be_read_by_every_page(ofrep: Client) -> None:
    answers = await _one_of_each(ofrep, PAGE)

    assert set(answers) == {200, 304, 400, 401, 403, 404, 413, 500, 503}
    for status, answer in answers.items():
        assert answer.headers[ALLOWED] == "*", status
        assert set(answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS].split(", ")) == EXPOSED
        assert "Vary" not in answer.headers


async def test_c41_listed_origin_may_read_every_answer(
    shop: Client,
) -> None:
    # This instance may receive a write to the other one a moment later.
    answers = await _one_of_each(shop, SHOP)

    assert set(answers) == {200, 304, 400, 401, 403, 404, 413, 500, 503}
    for status, answer in answers.items():
        assert answer.headers.getall(ALLOWED) == [SHOP], status
        assert set(answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS].split(", ")) == EXPOSED
        assert answer.headers["Vary"] == "Origin"


NOWHERE = ("/ofrep/v2/evaluate/flags", LOCAL + "/ofrep/v1/configuration", "/ofrep")


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        *(("GET", path, {}, 404) for path in NOWHERE),
        ("GET", FLAGS, {}, 405),
        ("PUT", f"{LOCAL}{FLAGS}/plan", {}, 405),
        ("POST", FLAGS, {"Expect": "the-impossible"}, 417),
    ],
)
async def test_c41_listed_origin_may_read_unrouted_answers(
    ofrep: Client, shop: Client, method: str, path: str, sent: dict[str, str], status: int
) -> None:
    for client, origin, allowed in ((ofrep, PAGE, "*"), (shop, SHOP, SHOP), (shop, PAGE, None)):
        async with client.session.request(
            method, client.service.url + path, headers=sent | {"Origin": origin}
        ) as answer:
            assert (answer.status, answer.headers.get(ALLOWED)) == (status, allowed)
            assert answer.headers.get("Vary") == (None if client is ofrep else "Origin")


async def test_c41_unrouted_answers_outside_ofrep_have_no_cors(ofrep: Client) -> None:
    for path in ("/ofrepresentative", LOCAL + "/configurations/ofrep/v1", "/v1/nothing"):
        answer = await ofrep.service.client.get(path, headers={"Origin": PAGE})

        assert (answer.status, answer.headers.get(ALLOWED)) == (404, None)


@pytest.mark.parametrize(
    "origin",
    [PAGE, "null", SHOP + "/", SHOP + ".evil.example", "http://shop.example", SHOP.upper()],
)
async def test_unlisted_origin_gets_only_vary(shop: Client, origin: str) -> None:
    answer = await shop.all(headers={"Origin": origin})
    async with shop.session.options(
        shop.service.url + FLAGS, headers={"Origin": origin}
    ) as preflight:
        pass

    for headers in (answer.headers, preflight.headers):
        assert ALLOWED not in headers
        assert headers["Vary"] == "Origin"


async def test_answer_without_origin_header_varies_by_origin(shop: Client) -> None:
    """Otherwise a cache could return this answer to a page."""
    answer = await shop.all()

    assert ALLOWED not in answer.headers
    assert answer.headers["Vary"] == "Origin"


async def test_only_evaluation_is_open_to_pages(ofrep: Client) -> None:
    answer = await ofrep.service.client.get(LOCAL, headers={"Origin": PAGE})

    assert answer.status == 200
    assert ALLOWED not in answer.headers
