"""The fast path and the ordinary way give the same answers, and count the same."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from app.access.rate_limit import RATE_LIMIT
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.handlers import USAGE
from app.http.fast_path import AIOHTTP_VERSION
from app.http.keys import DURATIONS, LIFECYCLE
from app.settings import Settings
from tests.api.flags.ofrep.conftest import BY_CLOCK, BY_PLAN, SWITCH
from tests.api.http.hostile_requests import HOSTILE
from tests.api.http.raw_requests import RawAnswer, exchange
from tests.conftest import Service, serving
from tests.examples import examples
from tests.waiting import HANG_SECONDS

_LOCAL = "/v1/environments/local"
_FLAGS = "/ofrep/v1/evaluate/flags"
_SPLIT = SWITCH | {"targeting": {"fractional": [["on", 25], ["off", 75]]}}
_ENTRIES: dict[str, Any] = {
    "switch": ("flag", SWITCH),
    "by/plan": ("flag", BY_PLAN),
    "split": ("flag", _SPLIT),
    # The context has no such variant.
    "failing": ("flag", SWITCH | {"targeting": {"var": "plan"}}),
    "disabled": ("flag", SWITCH | {"state": "DISABLED"}),
    "retries": ("setting", {"retries": 3}),
    # The answer is written in parts.
    "large": ("setting", {"text": "x" * 40_000}),
}
# IDs that the process made, in headers and in problems.
_MADE_ID = re.compile(rb"[0-9a-f]{28}")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A service with the fast path and one without, on the same database."""

    fast: Service
    ordinary: Service
    credentials: dict[str, str]
    tags: list[str]
    # Answers of earlier tests.
    fast_before: int

    async def compare(
        self, *parts: bytes, method: str = "GET", is_pipelined: bool = True
    ) -> list[RawAnswer]:
        """Send the same bytes to both, compare the answers and all counts, and return them."""
        for service in (self.fast, self.ordinary):
            service.app[TOKENS].used.clear()
        before = _counts(self.fast), _counts(self.ordinary)
        fast, ordinary = [
            await exchange(service.url, parts, method=method, is_pipelined=is_pipelined)
            for service in (self.fast, self.ordinary)
        ]
        assert [_comparable(a, self.fast) for a in fast] == [
            _comparable(a, self.ordinary) for a in ordinary
        ]
        assert _counts(self.fast) - before[0] == _counts(self.ordinary) - before[1]
        return fast

    async def compare_until_fast(self, request: bytes) -> list[RawAnswer]:
        """Compare until the fast path answers: on a busy machine, a bulk may exceed its time."""
        before = self.fast_answers
        for _ in range(300):
            answers = await self.compare(request)
            # The last request of a connection is not answered on the fast path.
            if self.fast_answers == before + 1:
                return answers
        raise AssertionError("the fast path did not answer")

    @property
    def fast_answers(self) -> int:
        return self.fast.app[DURATIONS].fast_answers - self.fast_before


def _comparable(answer: RawAnswer, service: Service) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """Return the answer without its time, its made ID and the port of the service."""
    headers = [
        (name, _MADE_ID.sub(b"ID", value.encode()).decode())
        for name, value in answer.headers
        # The penalty of a rate limit ends in so many seconds.
        if name not in {"date", "retry-after"}
    ]
    port = service.url.rpartition(":")[2].encode()
    return answer.status_line, sorted(headers), _MADE_ID.sub(b"ID", answer.body.replace(port, b""))


def _counts(service: Service) -> Counter[object]:
    """Return everything that requests have counted, without durations."""
    counts: Counter[object] = Counter(service.app[USAGE].totals())
    counts.update({labels: sum(series.counts) for labels, series in service.app[DURATIONS]})
    counts.update(service.app[TOKENS].used)
    counts["refusals"] = service.app[ACCESS_LOG].enqueued
    return counts


@pytest.fixture(scope="module")
async def services(running: Service, settings: Settings) -> AsyncIterator[tuple[Service, Service]]:
    """Yield a service with the fast path and one without. Their starts take most of a test."""
    del running
    http = settings.http
    async with (
        serving(replace(settings, http=replace(http, fast_path=True))) as fast,
        serving(replace(settings, http=replace(http, fast_path=False))) as ordinary,
    ):
        yield fast, ordinary


@pytest.fixture
async def pair(
    service: Service, services: tuple[Service, Service], monkeypatch: pytest.MonkeyPatch
) -> Pair:
    fast, ordinary = services
    # No window and no penalty may end between the two requests of a comparison.
    for limit in ("WINDOW_SECONDS", "PENALTY_SECONDS", "PENALTY_SECONDS_MAX"):
        monkeypatch.setattr(f"app.access.rate_limit.{limit}", 3_600.0)
    for key, (kind, value) in _ENTRIES.items():
        await _put(service, f"{_LOCAL}/configurations/{key}", kind, value)
    clock = "/v1/environments/development/configurations/clock"
    await _put(service, clock, "flag", BY_CLOCK)
    read = await service.client.get(f"{_LOCAL}/configurations/retries")
    every = tuple(Scope)
    credentials = {
        "admin": service.admin_token,
        "local": await service.token(*every, environments=("local",)),
        "development": await service.token(*every, environments=("development",)),
        "reader": await service.token(Scope.READ, environments=("local",)),
        "evaluator": await service.token(Scope.EVALUATE, environments=("local",)),
    }
    for running in services:
        await running.app[FOLLOWER].refresh()
        await running.app[TOKENS].refresh()
        running.app[RATE_LIMIT].forget()
        running.app[LIFECYCLE].draining.clear()
    return Pair(
        fast=fast,
        ordinary=ordinary,
        credentials=credentials,
        tags=[read.headers["ETag"]],
        fast_before=fast.app[DURATIONS].fast_answers,
    )


async def _put(service: Service, path: str, kind: str, value: Any) -> None:
    body = {"kind": kind, "value": value}
    answer = await service.client.put(path, json=body, headers={"If-None-Match": "*"})
    assert answer.status == 201, await answer.text()


def _request(method: str, path: str, headers: list[str], body: bytes = b"") -> bytes:
    if body:
        headers = [*headers, f"Content-Length: {len(body)}"]
    lines = [f"{method} {path} HTTP/1.1", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


_CONTEXT = b'{"context":{"targetingKey":"user-1","plan":"pro"}}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{_FLAGS}/switch", _CONTEXT),
        ("POST", f"{_LOCAL}{_FLAGS}/by/plan", _CONTEXT),
        ("POST", f"{_LOCAL}{_FLAGS}/split", b""),
        ("POST", f"{_LOCAL}{_FLAGS}/failing", _CONTEXT),
        ("POST", _FLAGS, _CONTEXT),
        ("POST", f"{_LOCAL}{_FLAGS}", _CONTEXT),
        ("GET", f"{_LOCAL}/configurations/by/plan", b""),
        ("GET", f"{_LOCAL}/configurations/large", b""),
        ("GET", f"{_LOCAL}/configurations", b""),
        ("GET", f"{_LOCAL}/configurations?limit=2&kind=flag&prefix=s&after=a", b""),
        ("GET", "/health/live", b""),
    ],
)
async def test_hot_route_is_answered_on_the_fast_path(
    pair: Pair, method: str, path: str, body: bytes
) -> None:
    head = ["Host: x", "X-Request-ID: one", f"Authorization: Bearer {pair.credentials['local']}"]

    answers = await pair.compare_until_fast(_request(method, path, head, body))

    tag = dict(answers[0].headers).get("etag")
    if tag is not None:
        known = [*head, f"If-None-Match: {tag}"]
        unchanged = await pair.compare_until_fast(_request(method, path, known, body))
        assert unchanged[0].status == 304
    assert pair.ordinary.app[DURATIONS].fast_answers == 0


@pytest.mark.parametrize(
    ("method", "path", "holder", "status"),
    [
        ("GET", f"{_LOCAL}/configurations/none", "local", 404),
        ("GET", f"{_LOCAL}/configurations/switch", "evaluator", 403),
        ("GET", f"{_LOCAL}/configurations/switch", "development", 403),
        ("GET", f"{_LOCAL}/configurations/switch", "", 401),
        ("POST", f"{_LOCAL}{_FLAGS}/none", "local", 404),
        ("POST", f"{_LOCAL}{_FLAGS}/switch", "reader", 403),
        ("POST", f"{_FLAGS}/switch", "admin", 400),
        ("POST", f"{_FLAGS}/switch", "", 401),
    ],
)
async def test_refusal_is_answered_on_the_fast_path(
    pair: Pair, method: str, path: str, holder: str, status: int
) -> None:
    token = f"Authorization: Bearer {pair.credentials[holder]}" if holder else "A: b"

    answers = await pair.compare(_request(method, path, ["Host: x", token]))

    assert (answers[0].status, pair.fast_answers) == (status, 1)


_LIVE = _request("GET", "/health/live", ["Host: x"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        [_LIVE, _LIVE, _LIVE],
        [_LIVE + _LIVE, _LIVE],
        # The parser has a part of a head, which the known head continues.
        [b"GET /none HTTP/1.1\r\nHost: x\r\nA: ", _LIVE],
        [_LIVE + b"GET /none HTTP/1.1\r\nHost: x\r\nA: ", _LIVE],
        [_LIVE + b"GET /none HTTP/1.1\r\nHost: x\r\nA: b\r\n\r", b"\n" + _LIVE],
        [_LIVE + b"G", _LIVE],
        [_LIVE + b"\r\n", _LIVE, b"\r\n" + _LIVE],
        # The known head is the body of another request.
        [
            _request("POST", f"{_LOCAL}{_FLAGS}", ["Host: x", f"Content-Length: {len(_LIVE)}"]),
            _LIVE,
        ],
        [_request("GET", "/health/live", ["Host: x", f"Content-Length: {len(_LIVE)}"]), _LIVE],
        [_request("GET", "/health/live", ["Host: x", "Transfer-Encoding: chunked"]), _LIVE],
        [_request("GET", "/health/live", ["Host: x"], _LIVE), _LIVE],
        [_LIVE[:9], _LIVE[9:], _LIVE],
        [_LIVE[:-1], _LIVE[-1:], _LIVE],
    ],
)
async def test_known_head_is_the_same_both_ways(pair: Pair, parts: list[bytes]) -> None:
    await pair.compare_until_fast(_LIVE)

    answers = await pair.compare(*parts)

    assert answers


@pytest.mark.parametrize(
    "first",
    [
        _request("GET", "/v1/environments", ["Host: x"]),
        _request("GET", "/none", ["Host: x"]),
        _request("POST", f"{_LOCAL}/changes", ["Host: x"], b'{"operations": []}'),
    ],
)
async def test_known_head_is_used_after_an_ordinary_request(pair: Pair, first: bytes) -> None:
    await pair.compare_until_fast(_LIVE)
    durations = pair.fast.app[DURATIONS]
    before = durations.known_heads

    # A head that arrives during an earlier request is parsed the ordinary way.
    await pair.compare(first, _LIVE, _LIVE, is_pipelined=False)

    assert durations.known_heads - before == 2


async def test_known_head_with_revoked_token_is_refused(pair: Pair, service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    for running in (pair.fast, pair.ordinary):
        await running.app[TOKENS].refresh()
    head = ["Host: x", f"Authorization: Bearer {token}"]
    request = _request("GET", f"{_LOCAL}/configurations/switch", head)
    assert (await pair.compare(request, request))[0].status == 200
    revoked = await service.client.delete(f"/v1/tokens/{token.split('_')[2]}")
    assert revoked.status == 200
    for running in (pair.fast, pair.ordinary):
        await running.app[TOKENS].refresh()

    answers = await pair.compare(request, request)

    assert [answer.status for answer in answers[:2]] == [401, 401]


async def test_rate_limit_is_the_same_both_ways(pair: Pair) -> None:
    request = _request("GET", f"{_LOCAL}/configurations/switch", ["Host: x", "X-API-Key: wrong"])

    answers = [await pair.compare(request) for _ in range(13)]

    assert [refused.status for refused, _ in answers] == [401] * 10 + [429] * 3
    assert pair.fast_answers == 13


async def test_draining_service_closes_the_connection_both_ways(pair: Pair) -> None:
    for service in (pair.fast, pair.ordinary):
        service.app[LIFECYCLE].draining.set()

    answers = await pair.compare(_request("GET", "/health/live", ["Host: x"]))

    assert ("connection", "close") in answers[0].headers
    assert (len(answers), pair.fast_answers) == (1, 0)


async def test_idle_connection_is_closed_after_a_fast_answer(settings: Settings) -> None:
    http = replace(settings.http, idle_timeout_seconds=1.0)
    async with serving(replace(settings, http=http)) as service:
        host, port = service.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(_request("GET", "/health/live", ["Host: x"]))

        async with asyncio.timeout(HANG_SECONDS):
            answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert service.app[DURATIONS].fast_answers == 1


async def test_readiness_is_answered_on_the_fast_path(pair: Pair) -> None:
    request = _request("GET", "/health/ready", ["Host: x"])

    fast = (await exchange(pair.fast.url, [request]))[0]
    ordinary = (await exchange(pair.ordinary.url, [request]))[0]

    assert (fast.status, ordinary.status, pair.fast_answers) == (200, 200, 1)
    assert json.loads(fast.body).keys() == json.loads(ordinary.body).keys()
    assert [name for name, _ in fast.headers] == [name for name, _ in ordinary.headers]


def test_aiohttp_has_the_version_of_the_fast_path() -> None:
    """After an upgrade, compare with the assumptions of `fast_path.py` and `protocol.py`:

    RequestHandler.data_received, start and _process_keepalive; HttpParser.feed_data and
    message_consumed; StreamReader._buffer; BaseRequest.__init__; UrlDispatcher.resolve, which must
    not wait; Application._handle. Then set AIOHTTP_VERSION.
    """
    assert aiohttp.__version__.startswith(f"{AIOHTTP_VERSION}.")


_METHODS = st.sampled_from(["GET", "POST", "POST", "HEAD", "OPTIONS", "get"])
_KEYS = st.sampled_from(
    [*_ENTRIES, "none", "", "a%2Fb", "by%2Fplan", "%73witch", "switch/history", "history", "ü", "-"]
)
_BASES = st.sampled_from(["", _LOCAL, "/v1/environments/development", "/v1/environments/nowhere"])
_QUERIES = st.sampled_from(
    ["", "", "?", "?x=1", "#f", "?min_revision=1", "?reveal=true", "?flagConfigEtag=x"]
)
_FILTERS = st.lists(
    st.sampled_from(
        [
            "limit=1",
            "limit=2",
            "limit=0",
            "kind=flag",
            "kind=x",
            "prefix=s",
            "prefix=%00",
            "after=b",
        ]
    ),
    max_size=3,
).map(lambda filters: "?" + "&".join(filters))
_PATHS = st.one_of(
    st.builds("{}{}/{}{}".format, _BASES, st.just(_FLAGS), _KEYS, _QUERIES),
    st.builds("{}{}{}".format, _BASES, st.just(_FLAGS), _QUERIES),
    st.builds("{}/configurations/{}{}".format, _BASES, _KEYS, _QUERIES),
    st.builds("{}/configurations{}".format, _BASES, _QUERIES | _FILTERS),
    st.sampled_from(["/health/live", "/health/live?x", "//health/live", "/HEALTH/live", "*"])
    | st.just("http://other" + _LOCAL + _FLAGS),
)
_HEADERS = st.sampled_from(
    """
    X-Request-ID: mine
    X-Request-ID: not mine
    x-request-id: a
    Content-Encoding: gzip
    Content-Encoding: identity
    Expect: 100-continue
    Expect: more
    Origin: https://a.b
    Connection: close
    Connection: keep-alive
    Connection: upgrade
    Upgrade: websocket
    Upgrade: h2c
    Content-Type: text/plain
    X-Forwarded-For: 10.0.0.1
    X-Api-Key: wrong
    If-None-Match: *
    If-None-Match: "x"
    If-None-Match: é
    Authorization: Basic x
    Authorization: Bearer
    Range: bytes=0-1
    Cookie: a=b
    Accept: text/html
    A: é
    Host: y:80
    Transfer-Encoding: chunked
    Content-Length: 0
    Last-Event-ID: 1
    """.strip().split("\n    ")
)
_POSITIONS = st.integers(0, 99)
_NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
_CONTEXTS = st.dictionaries(
    st.sampled_from(["targetingKey", "plan", "age", "ü", ""]),
    st.text(max_size=8) | st.none() | st.booleans() | _NUMBERS | st.lists(_NUMBERS, max_size=2),
)
_BODIES = (
    st.builds(lambda context: json.dumps({"context": context}).encode(), _CONTEXTS)
    | st.sampled_from([b"", b"{}", b"[]", b"{", b'{"context":1}', b'{"context":{"a":1e999}}'])
    | st.sampled_from([b"x" * 70_000, b'{"context":{"a":"' + b"x" * 300_000 + b'"}}'])
    | st.binary(max_size=20)
)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
async def test_generated_request_has_the_same_answer_both_ways(
    pair: Pair, data: st.DataObject
) -> None:
    method, path = data.draw(_METHODS), data.draw(_PATHS)
    headers = data.draw(st.lists(_HEADERS, max_size=3)) if data.draw(st.booleans()) else []
    token = data.draw(st.sampled_from([*pair.credentials.values(), "wrong", None]))
    if token is not None:
        name = data.draw(st.sampled_from(["Authorization: Bearer ", "X-API-Key: "]))
        headers.append(name + token)
    if data.draw(st.booleans()):
        headers.append(f"If-None-Match: {pair.tags[data.draw(_POSITIONS) % len(pair.tags)]}")
    body = data.draw(_BODIES)
    if "Transfer-Encoding: chunked" in headers and "Content-Length: 0" not in headers:
        raw = _request(method, path, ["Host: x", *headers])
        raw += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        raw = _request(method, path, ["Host: x", *headers], body)
    cut = data.draw(_POSITIONS) * len(raw) // 99 if data.draw(st.booleans()) else 0
    parts = [part for part in (raw[:cut], raw[cut:]) if part]
    if data.draw(st.integers(0, 9)) == 0:
        # A second request arrives together with the first, whole or in part.
        parts = [raw + raw[:cut], raw[cut:]]
    if data.draw(st.booleans()):
        # The same head again, which is known if it was answered.
        parts += parts

    answers = await pair.compare(*parts, method=method)

    tag = dict(answers[0].headers).get("etag") if answers else None
    if tag is not None and tag not in pair.tags:
        pair.tags.append(tag)


@pytest.mark.slow
@pytest.mark.parametrize(("request_bytes", "status"), HOSTILE)
async def test_invalid_http_has_the_same_answer_both_ways(
    pair: Pair, request_bytes: bytes, status: bytes
) -> None:
    answers = await pair.compare(request_bytes)

    assert answers[0].status_line.split()[1].startswith(status)
    assert pair.fast_answers == 0
