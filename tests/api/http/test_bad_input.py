"""Invalid input gets the right 4xx and a problem with field and rule, and writes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.http.decoder import BODY_BYTES_MAX, VALUE_BYTES_MAX
from tests.api.http.hostile_requests import HOSTILE
from tests.conftest import Service
from tests.examples import examples
from tests.waiting import HANG_SECONDS

PATH = "/v1/environments/local/configurations/"
KEY = PATH + "k"
NEW = {"If-None-Match": "*", "Content-Type": "application/json"}


async def _put(service: Service, body: bytes, **headers: str) -> tuple[int, dict[str, object]]:
    answer = await service.client.put(KEY, data=BytesIO(body), headers=NEW | headers)
    assert answer.headers["Content-Type"] == "application/problem+json" or answer.status < 300
    return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(
    ("body", "status", "rule"),
    [
        (b"", 400, "must be JSON"),
        (b"{", 400, "must be JSON"),
        (b'{"value": 1} x', 400, "must be JSON"),
        (b"\xff\xfe", 400, "must be UTF-8"),
        (b'\xef\xbb\xbf{"value":1}', 400, "must be JSON"),
        (b'{"value": 1, "value": 2}', 400, "repeat a name"),
        (b'{"value": {"a": {"b": 1, "b": 2}}}', 400, "repeat a name"),
        (b'{"value": NaN}', 400, "NaN"),
        (b'{"value": -Infinity}', 400, "Infinity"),
        (b'{"value": 1e400}', 400, "beyond the range"),
        (b'{"value": 1e-400}', 400, "beyond the range"),
        (b'{"value": 9007199254740993}', 400, "beyond 2^53"),
        (b'{"value": ' + b"9" * 100_000 + b"}", 400, "beyond 2^53"),
        (b'{"value": "\\u0000"}', 400, "NUL"),
        (b'{"value": {"\\u0000": 1}}', 400, "NUL"),
        (b'{"value": "\\ud800"}', 400, "surrogate"),
        (b'{"value": ' + b"[" * 33 + b"]" * 33 + b"}", 400, "nest deeper"),
        (b"[" * 9_000, 400, "nest deeper"),
        (b"[" * 100_000, 400, "more than 12000"),
        (b'{"value": [' + b",".join([b"1"] * 12_001) + b"]}", 400, "more than 12000"),
        (b"[]", 422, "expected `object`"),
        (b"{}", 422, "missing required field `value`"),
        (b'{"value": 1, "colour": 2}', 422, "unknown field `colour`"),
        (b'{"value": 1, "kind": "x"}', 422, "one of the allowed values"),
        (b'{"value": 1, "kind": "secret", "key": 2}', 422, "unknown field `key`"),
        (b'{"value": null, "kind": "secret"}', 422, "must not be null for a secret"),
        (b'{"value": 1, "description": 5}', 422, "expected `str"),
        (b'{"value": 1, "message": "' + b"m" * 1_001 + b'"}', 422, "length"),
    ],
)
async def test_invalid_body_is_refused_by_its_rule(
    service: Service, body: bytes, status: int, rule: str
) -> None:
    got_status, problem = await _put(service, body)

    assert got_status == status
    assert rule in str(problem["errors"])
    assert (await service.client.get(KEY)).status == 404


async def test_sizes_are_bounded(service: Service) -> None:
    large_value = json.dumps({"value": "x" * VALUE_BYTES_MAX}).encode()
    large_body = b'{"value": "' + b"x" * BODY_BYTES_MAX + b'"}'

    value_status, value_problem = await _put(service, large_value)
    body_status, body_problem = await _put(service, large_body)

    assert (value_status, value_problem["code"]) == (413, "value_too_large")
    assert (body_status, body_problem["code"]) == (413, "body_too_large")


async def test_chunked_body_is_bounded(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    answer = await service.client.put(KEY, data=chunks(), headers=NEW)

    assert answer.status == 413
    assert (await answer.json(content_type=None))["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Idempotency-Key": "é"}, 400),
        ({"Idempotency-Key": "x" * 201}, 400),
    ],
)
async def test_wrong_headers_are_refused(
    service: Service, headers: dict[str, str], status: int
) -> None:
    got_status, _ = await _put(service, b'{"value": 1}', **headers)

    assert got_status == status
    assert (await service.client.get(KEY)).status == 404


@pytest.mark.parametrize("key", ["-a", ".a", "a b", "a%00b", "ü", "a" * 256, "a%0A", "a//ü"])
async def test_malformed_key_is_refused(service: Service, key: str) -> None:
    answer = await service.client.put(PATH + key, json={"value": 1}, headers=NEW)

    assert answer.status == 422
    assert (await answer.json(content_type=None))["errors"][0]["field"] == "key"


async def test_unknown_environment_is_not_found(service: Service) -> None:
    for method, path in (("GET", ""), ("GET", "/configurations"), ("PUT", "/configurations/k")):
        answer = await service.client.request(
            method, "/v1/environments/nowhere" + path, json={"value": 1}, headers=NEW
        )
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (
            404,
            "environment_unknown",
        )


async def test_aiohttps_own_errors_are_problems(service: Service) -> None:
    unknown = await service.client.get("/nothing")
    method = await service.client.delete("/v1/environments")
    expect = await service.client.put(KEY, data=b"{}", headers=NEW | {"Expect": "something"})

    nowhere = await service.client.get("/nothing", headers={"Expect": "something"})
    assert (unknown.status, method.status, expect.status) == (404, 405, 417)
    assert (nowhere.status, nowhere.content_type) == (417, "application/problem+json")
    assert "GET" in method.headers["Allow"]
    for answer in (unknown, method, expect):
        assert answer.content_type == "application/problem+json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-ID"]
        assert answer.headers["Server"] == "flagstone"


async def test_valid_request_id_is_accepted(service: Service) -> None:
    given_id = await service.client.get("/nothing", headers={"X-Request-ID": "abc-1"})
    odd = await service.client.get("/nothing", headers={"X-Request-ID": "a b;c"})

    assert given_id.headers["X-Request-ID"] == "abc-1"
    assert (await given_id.json(content_type=None))["request_id"] == "abc-1"
    assert odd.headers["X-Request-ID"] != "a b;c"


async def _raw(service: Service, request: bytes) -> bytes:
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), HANG_SECONDS)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    HOSTILE,
)
async def test_invalid_http_is_refused_without_an_echo(
    service: Service, request_bytes: bytes, status: bytes
) -> None:
    answer = await _raw(service, request_bytes)

    assert answer.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status))
    assert b"application/problem+json" in answer
    assert b"aiohttp" not in answer
    assert b"Traceback" not in answer


async def test_undecodable_header_is_allowed_with_idempotency_key(service: Service) -> None:
    request = (
        f"POST /v1/environments/local/restore HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
        f"Authorization: Bearer {service.admin_token}\r\nContent-Type: application/json\r\n"
        "If-Match: \xff\r\nContent-Length: 14\r\nConnection: close\r\n\r\n"
        '{"revision":0}'
    )

    answer = await _raw(service, request.encode("latin-1"))

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.slow
async def test_ten_declared_gigabytes_are_refused_before_they_come(service: Service) -> None:
    request = (
        f"PUT {KEY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.admin_token}\r\n"
        "If-None-Match: *\r\nContent-Type: application/json\r\nContent-Length: 10737418240\r\n"
        "Connection: close\r\n\r\n"
    )

    answer = await _raw(service, request.encode())

    assert answer.startswith(b"HTTP/1.1 413")


async def test_badly_framed_body_is_refused_at_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"PUT {KEY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.admin_token}\r\n"
        "If-None-Match: *\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode())
    invited = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HANG_SECONDS)

    writer.write(b"nonsense\r\n")
    answer = await asyncio.wait_for(reader.read(), HANG_SECONDS)
    writer.close()

    assert invited == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"framed as HTTP requires" in answer
    assert [record for record in caplog.records if record.name == "aiohttp.server"] == []


@pytest.mark.slow
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_body_is_answered_without_500(service: Service, body: bytes) -> None:
    answer = await service.client.put(
        PATH + "fuzz", data=body, headers={**NEW, "If-None-Match": "*"}
    )

    assert answer.status < 500


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        (b'{"value": 1, "kind": "none"}', 422, "Unprocessable Content"),
        (b'"' + b"a" * BODY_BYTES_MAX + b'"', 413, "Content Too Large"),
    ],
)
async def test_title_is_the_one_of_rfc_9110(
    service: Service, body: bytes, status: int, title: str
) -> None:
    """Python 3.13 changed the phrases of http.HTTPStatus."""
    answered, problem = await _put(service, body)

    assert (answered, problem["title"]) == (status, title)
