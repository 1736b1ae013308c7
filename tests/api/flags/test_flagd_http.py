"""flagd's sync service on the main port: `GET /v1/flags`, and unary calls by Connect."""

import json
from typing import Any

import pytest
from aiohttp import ClientResponse, hdrs

from app.access.models import Scope
from app.flags.flagd_sync import handlers
from app.flags.flagd_sync.handlers import FIRST_SEEN, FirstSeen
from tests.api.flags.flagd import LOCAL
from tests.conftest import Service

FLAGS = "/v1/flags"
SERVICE = "/flagd.sync.v1.FlagSyncService"
FETCH = f"{SERVICE}/FetchAllFlags"
SELECTED = {"Flagd-Selector": "flagSetId=local"}
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


async def _put(service: Service, key: str, kind: str = "flag", value: Any = FLAG) -> None:
    answer = await service.client.put(
        f"{LOCAL}/configurations/{key}",
        json={"kind": kind, "value": value},
        headers={"If-None-Match": "*"},
    )
    assert answer.status == 201, await answer.text()


async def _connect(service: Service, path: str, body: Any, **headers: str) -> ClientResponse:
    return await service.client.post(path, json=body, headers=headers)


async def test_flags_are_the_bytes_of_flags_json(service: Service) -> None:
    await _put(service, "welcome")

    by_selector = await service.client.get(FLAGS, headers=SELECTED)
    by_path = await service.client.get(f"{LOCAL}/flags.json")
    fetched = await _connect(service, FETCH, {"selector": "flagSetId=local"})

    document = await by_path.read()
    assert b'"welcome"' in document
    assert await by_selector.read() == document
    assert by_selector.headers[hdrs.ETAG] == by_path.headers[hdrs.ETAG]
    assert by_selector.headers[hdrs.VARY] == "Flagd-Selector"
    assert (await fetched.json())["flagConfiguration"].encode() == document


async def test_flags_are_revalidated_by_etag(service: Service) -> None:
    await _put(service, "welcome")
    first = await service.client.get(FLAGS, headers=SELECTED)
    known = SELECTED | {hdrs.IF_NONE_MATCH: first.headers[hdrs.ETAG]}

    unchanged = await service.client.get(FLAGS, headers=known)
    await _put(service, "limit", "setting", 5)
    after_setting = await service.client.get(FLAGS, headers=known)
    await _put(service, "farewell")
    after_flag = await service.client.get(FLAGS, headers=known)

    assert [unchanged.status, after_setting.status, after_flag.status] == [304, 304, 200]
    assert await unchanged.read() == b""


async def test_flags_are_revalidated_by_date(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_790_000_000.0
    monkeypatch.setattr("app.flags.flagd_sync.handlers.time.time", lambda: now)
    with service.using(FIRST_SEEN, FirstSeen()):
        await _put(service, "welcome")
        fresh = await service.client.get(FLAGS, headers=SELECTED)
        now += handlers.SETTLED_SECONDS + 1
        settled = await service.client.get(FLAGS, headers=SELECTED)
        date = settled.headers[hdrs.LAST_MODIFIED]
        known = SELECTED | {hdrs.IF_MODIFIED_SINCE: date}
        unchanged = await service.client.get(FLAGS, headers=known)
        etag_first = await service.client.get(FLAGS, headers=known | {hdrs.IF_NONE_MATCH: '"x"'})
        await _put(service, "farewell")
        changed = await service.client.get(FLAGS, headers=known)

    assert hdrs.LAST_MODIFIED not in fresh.headers
    assert [unchanged.status, etag_first.status, changed.status] == [304, 200, 200]


async def test_token_of_one_environment_needs_no_selector(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    headers = {"Authorization": f"Bearer {token}"}

    answer = await service.stranger.get(FLAGS, headers=headers)
    fetched = await service.stranger.post(FETCH, json={}, headers=headers)
    foreign = await service.stranger.post(
        FETCH, json={"selector": "flagSetId=staging"}, headers=headers
    )

    assert [answer.status, fetched.status, foreign.status] == [200, 200, 403]
    assert (await foreign.json())["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("selector", "status", "code"),
    [
        ("", 400, "invalid_argument"),
        ("local", 400, "invalid_argument"),
        ("source=local", 400, "invalid_argument"),
        ("flagSetId=", 400, "invalid_argument"),
        ("flagSetId=nowhere", 404, "not_found"),
        ("flagSetId=../local", 404, "not_found"),
    ],
)
async def test_selector_without_environment_is_refused(
    service: Service, selector: str, status: int, code: str
) -> None:
    answer = await service.client.get(FLAGS, headers={"Flagd-Selector": selector})
    fetched = await _connect(service, FETCH, {"selector": selector})

    assert [answer.status, fetched.status] == [status, status]
    body = await fetched.json()
    assert (body["code"], body.keys()) == (code, {"code", "message"})


async def test_connect_refusals_have_codes(service: Service) -> None:
    evaluator = await service.token(Scope.EVALUATE)
    stranger = await service.stranger.post(FETCH, json={})
    scopeless = await service.stranger.post(
        FETCH, json={}, headers={"Authorization": f"Bearer {evaluator}"}
    )
    no_json = await service.client.post(FETCH, data=b"{", headers={"Content-Type": "text/plain"})
    broken = await service.client.post(
        FETCH, data=b"{", headers={"Content-Type": "application/json"}
    )
    mistyped = await _connect(service, FETCH, {"selector": 5})
    large = await _connect(service, FETCH, {"providerId": "x" * handlers.REQUEST_BYTES_MAX})

    answers = [stranger, scopeless, no_json, broken, mistyped, large]
    codes = [json.loads(await answer.read())["code"] for answer in answers]
    assert [answer.status for answer in answers] == [401, 403, 415, 400, 400, 413]
    assert codes == [
        *("unauthenticated", "permission_denied"),
        *["invalid_argument"] * 3,
        "resource_exhausted",
    ]


async def test_connect_metadata_is_empty(service: Service) -> None:
    answer = await _connect(service, f"{SERVICE}/GetMetadata", {}, **SELECTED)

    assert await answer.json() == {"metadata": {}}
