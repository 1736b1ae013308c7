"""Failed attempts are limited by client prefix. A valid token is always accepted."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.access.format import generate_token
from app.access.guard import ACCESS_LOG
from app.access.models import Scope
from app.access.rate_limit import ATTEMPTS_MAX, RATE_LIMIT
from app.http.keys import DATABASE, SETTINGS
from tests.conftest import Service

PATH = "/v1/environments/local"
OFREP = "/ofrep/v1/evaluate/flags"


async def _fail(service: Service, **headers: str) -> tuple[int, str | None]:
    bad = {"X-API-Key": generate_token(is_admin=False).text}
    answer = await service.stranger.get(PATH, headers=bad | headers)
    return answer.status, answer.headers.get("Retry-After")


async def _fail_often(service: Service) -> None:
    answers = [await _fail(service) for _ in range(ATTEMPTS_MAX)]
    assert answers == [(401, None)] * ATTEMPTS_MAX


async def test_after_ten_failures_the_answer_says_when_to_come_back(service: Service) -> None:
    with capture_logs() as logged:
        await _fail_often(service)
        answers = [await service.stranger.get(PATH, headers={"X-API-Key": "x"}) for _ in range(3)]

    body: dict[str, Any] = await answers[0].json(content_type=None)
    assert [answer.status for answer in answers] == [429] * 3
    waits = [int(answer.headers["Retry-After"]) for answer in answers]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == 60
    assert waits[-1] > 0
    assert answers[0].content_type == "application/problem+json"
    assert body["code"] == "attempts_exceeded"
    # Once, not at each attempt.
    warned = [entry for entry in logged if entry["event"] == "attempts_limited"]
    assert [(entry["client"], entry["seconds"]) for entry in warned] == [("127.0.0.1", 60.0)]


async def test_valid_token_is_accepted_from_a_limited_address(service: Service) -> None:
    """Otherwise a stranger behind the same address could lock a service out."""
    good = await service.token(Scope.READ, Scope.EVALUATE, environments=("local",))
    await _fail_often(service)
    assert (await _fail(service))[0] == 429

    read = await service.stranger.get(PATH, headers={"X-API-Key": good})
    evaluated = await service.stranger.post(
        OFREP, json={"context": {"targetingKey": "u"}}, headers={"X-API-Key": good}
    )

    assert (read.status, evaluated.status) == (200, 200)


async def test_request_without_token_is_no_failed_attempt(service: Service) -> None:
    for _ in range(3 * ATTEMPTS_MAX):
        assert (await service.stranger.get(PATH)).status == 401

    await _fail_often(service)

    assert (await service.stranger.get(PATH)).status == 401


async def test_ofrep_says_so_in_its_own_shape(service: Service) -> None:
    await _fail_often(service)

    bad = {"Authorization": "Bearer x", "Origin": "https://shop.example"}
    evaluated = await service.stranger.post(OFREP, json={}, headers=bad)
    stream = await service.stranger.get("/ofrep/v1/streams/x", headers=bad)

    for answer in (evaluated, stream):
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert (await answer.json())["errorCode"] == "GENERAL"


async def test_bad_tickets_count_too(service: Service) -> None:
    statuses = [
        (await service.stranger.get(f"/ofrep/v1/streams/x{number}")).status
        for number in range(ATTEMPTS_MAX + 1)
    ]

    assert statuses == [401] * ATTEMPTS_MAX + [429]


async def test_rate_limit_is_in_the_access_log(service: Service) -> None:
    await service.app[ACCESS_LOG].run_once()
    async with service.app[DATABASE].connection() as connection:
        before = await connection.fetchval("select coalesce(max(id), 0) from access_log")
    await _fail_often(service)
    await _fail(service)
    await _fail(service)

    await service.app[ACCESS_LOG].run_once()

    async with service.app[DATABASE].connection() as connection:
        rows = await connection.fetch(
            "select event, count, client from access_log where id > $1 order by event", before
        )
    assert [tuple(row) for row in rows] == [
        ("authn_login_fail", ATTEMPTS_MAX, "127.0.0.1"),
        ("excess_rate_limit_exceeded", 2, "127.0.0.1"),
    ]


# The address of the client


@pytest.fixture
async def behind_proxy(service: Service) -> AsyncIterator[Service]:
    before = service.app[SETTINGS]
    trusted = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
    changed = replace(before, http=replace(before.http, trusted_proxies=trusted))
    with service.using(SETTINGS, changed):
        yield service


async def _client_of(service: Service, *forwarded: str) -> str:
    """Return the address that a failure with these headers counts for."""
    service.app[RATE_LIMIT].forget()
    await service.app[ACCESS_LOG].run_once()
    headers = [("X-Forwarded-For", address) for address in forwarded]
    await service.stranger.get(PATH, headers=[("X-API-Key", "x"), *headers])
    await service.app[ACCESS_LOG].run_once()
    async with service.app[DATABASE].connection() as connection:
        client = await connection.fetchval("select client from access_log order by id desc limit 1")
    return str(client)


async def test_forwarded_address_from_untrusted_proxy_is_ignored(service: Service) -> None:
    assert await _client_of(service, "198.51.100.7") == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ((), "127.0.0.1"),
        (("198.51.100.7",), "198.51.100.7"),
        # Some proxies add the port of the client, which changes each time.
        (("1.1.1.1, 198.51.100.7:49152, 10.0.0.1:443",), "198.51.100.7"),
        (("[2001:db8::1]:49152",), "2001:db8::1"),
        (("[2001:db8::1]",), "2001:db8::1"),
        (("1.1.1.1, 198.51.100.7",), "198.51.100.7"),
        (("1.1.1.1, 198.51.100.7, 10.1.2.3",), "198.51.100.7"),
        (("1.1.1.1", "198.51.100.7, 10.1.2.3"), "198.51.100.7"),
        (("10.9.9.9, 10.1.2.3",), "10.9.9.9"),
        (("2001:db8::1",), "2001:db8::1"),
        (("::ffff:198.51.100.7",), "198.51.100.7"),
        (("198.51.100.7, nonsense, 10.1.2.3",), "10.1.2.3"),
        (("198.51.100.7,",), "127.0.0.1"),
        (("198.51.100.7:https",), "127.0.0.1"),
    ],
)
async def test_client_is_the_last_address_before_trusted_proxies(
    behind_proxy: Service, forwarded: tuple[str, ...], client: str
) -> None:
    assert await _client_of(behind_proxy, *forwarded) == client


async def test_clients_behind_one_proxy_are_limited_apart(behind_proxy: Service) -> None:
    for _ in range(ATTEMPTS_MAX):
        await _fail(behind_proxy, **{"X-Forwarded-For": "198.51.100.7"})

    last = await _fail(behind_proxy, **{"X-Forwarded-For": "198.51.100.7"})
    other = await _fail(behind_proxy, **{"X-Forwarded-For": "198.51.100.8"})

    assert (last[0], other[0]) == (429, 401)
