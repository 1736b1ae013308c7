"""Keys with empty, "." or ".." segments: clients would read another key, so writes refuse them.

Earlier releases stored such keys. They can still be read, deleted and restored.
"""

import json
from typing import Any

import pytest
from yarl import URL

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import ABSENT, ChangeKind, Content, Kind, Operation
from app.configuration.snapshots.reading import FOLLOWER
from app.errors import Invalid
from app.http.keys import DATABASE, SETTINGS
from app.operations.doctor.database_checks import check_entry_keys
from app.operations.doctor.findings import FindingVerdict
from app.operations.doctor.installation import Connected, Installation
from tests.conftest import Service

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
BAD = ("a//b", "a/", "a//", "a/./b", "a/.", "a/../b", "a/..", "a/b/../../c")
GOOD = ("a/...", "a/.b", "a/..b", "a/b..", "a/-", "a/_/b", "a..b/c.", "a/.-")
NEW = {"If-None-Match": "*"}


def _url(service: Service, key: str, query: str = "") -> URL:
    encoded = key.replace("/", "%2F")
    return URL(f"{service.url}{LOCAL}/configurations/{encoded}{query}", encoded=True)


def _content(value: object) -> Content:
    return Content(kind=Kind.SETTING, value=value)


async def _store(service: Service, *keys: str, environment: str = "local") -> None:
    """Store entries as an earlier release did; today only a restore accepts such keys."""
    operations = [Operation(key=key, content=_content(1), expected=ABSENT) for key in keys]
    await service.app[DATABASE].transact(
        lambda c: changes.apply(
            c,
            environment,
            operations,
            actor="test",
            kind=ChangeKind.RESTORE,
            authority=OPERATOR_AUTHORITY,
        )
    )
    await service.app[FOLLOWER].refresh()


async def _refused(answer: Any, key: str) -> bool:
    problem = await answer.json(content_type=None)
    assert answer.status == 422, problem
    assert "segment between slashes" in problem["detail"]
    assert any(field in problem["errors"][0]["field"] for field in ("key", key))
    return True


@pytest.mark.parametrize("key", BAD)
async def test_key_with_dot_segment_is_refused_everywhere(service: Service, key: str) -> None:
    client = service.client
    whole = {
        "flagstone": 1,
        "entries": {key: {"kind": "setting", "value": 1, "sealed": False}},
    }
    flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    operation = {"op": "put", "key": key, "value": 1, "version": 0}
    await _store(service, key, environment="staging")

    put = await client.put(_url(service, key), json={"value": 1}, headers=NEW)
    change_set = await client.post(LOCAL + "/changes", json={"operations": [operation]})
    promotion = await client.post(LOCAL + "/promote", json={"from": "staging", "keys": [key]})
    imports = [
        await client.post(
            LOCAL + "/import",
            params={"format": format_},
            data=body,
            headers={"Content-Type": "application/octet-stream"},
        )
        for format_, body in (
            ("json", json.dumps({key: 1})),
            ("json", json.dumps(whole)),
            ("yaml", f"{key}: 1"),
            ("flagd", json.dumps({"flags": {key: flag}})),
        )
    ]

    for answer in (put, change_set, promotion, *imports):
        assert await _refused(answer, key)
    # Seeds and the command line.
    operations = [Operation(key=key, content=_content(1), expected=None)]
    with pytest.raises(Invalid):
        await service.app[DATABASE].transact(
            lambda c: changes.apply(
                c, "local", operations, actor="test", authority=OPERATOR_AUTHORITY
            )
        )
    environment = await (await client.get(LOCAL)).json()
    assert environment["revision"] == 0


@pytest.mark.parametrize("key", BAD)
async def test_stored_key_can_be_read_and_deleted(service: Service, key: str) -> None:
    client = service.client
    await _store(service, key)

    read = await client.get(_url(service, key))
    past = await client.get(_url(service, key, "?revision=1"))
    changed = await client.put(_url(service, key), json={"value": 2}, headers={"If-Match": '"1"'})
    deleted = await client.delete(_url(service, key), headers={"If-Match": '"1"'})
    history = await client.get(f"{_url(service, key)}/history")
    reverted = await client.post(LOCAL + "/changes/2/revert", json={})
    operation = {"op": "delete", "key": key, "version": 2}
    removed = await client.post(LOCAL + "/changes", json={"operations": [operation]})
    restored = await client.post(LOCAL + "/restore", json={"revision": 1})

    assert (read.status, (await read.json())["key"], past.status) == (200, key, 200)
    assert await _refused(changed, key)
    seen = [answer.status for answer in (deleted, history, reverted, removed, restored)]
    assert seen == [200] * 5


@pytest.mark.parametrize("key", GOOD)
async def test_key_with_dots_inside_segments_is_stored(service: Service, key: str) -> None:
    answer = await service.client.put(
        f"{LOCAL}/configurations/{key}", json={"value": 1}, headers=NEW
    )
    # A plain path, as any client sends it.
    read = await service.client.get(f"{LOCAL}/configurations/{key}")

    assert (answer.status, read.status, (await read.json())["key"]) == (201, 200, key)


async def test_doctor_lists_keys_with_dot_segments(service: Service) -> None:
    database, target = service.app[DATABASE], service.app[SETTINGS].database.target
    assert target is not None
    way = Connected(target=target, database=database, seconds=0)
    patient = Installation(settings=service.app[SETTINGS], app=way)
    await _store(service, *GOOD)
    (before,) = await check_entry_keys(patient)
    await _store(service, *BAD[:2], environment="staging")

    (after,) = await check_entry_keys(patient)

    assert before.verdict is FindingVerdict.PASS
    assert after.verdict is FindingVerdict.WARN
    assert after.text.startswith("staging: a/, staging: a//b: ")
