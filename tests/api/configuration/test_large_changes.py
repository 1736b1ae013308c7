"""Change sets of many keys or large values: responses are bounded and have a next page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection
from app.http.keys import DATABASE, SETTINGS
from tests.conftest import Server, Service

LOCAL = "/v1/environments/local"
KEYS = [f"k{n:03}" for n in range(150)]
MEBIBYTE = 1024 * 1024


async def post(service: Service, path: str, body: object) -> tuple[int, Any, int]:
    answer = await service.client.post(LOCAL + path, json=body)
    return answer.status, await answer.json(content_type=None), len(await answer.read())


async def get(service: Service, path: str, **query: str) -> tuple[Any, int]:
    answer = await service.client.get(LOCAL + path, params=query)
    assert answer.status == 200
    return await answer.json(), len(await answer.read())


async def put_all(service: Service, value: object, version: int = 0) -> tuple[int, Any, int]:
    operations = [
        {"op": "put", "key": key, "value": value, "version": version} for key in reversed(KEYS)
    ]
    return await post(service, "/changes", {"operations": operations})


async def pages(service: Service, path: str, **query: str) -> list[Any]:
    """Return the changes of all pages."""
    changes: list[Any] = []
    after = ""
    while True:
        page, _ = await get(service, path, **query, **({"after": after} if after else {}))
        changes += page["changes"]
        assert page["next"] == (page["changes"][-1]["key"] if page["next"] else None)
        if page["next"] is None:
            return changes
        after = page["next"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/changes/2/revert", {}),
        ("/restore", {"revision": 1}),
        ("/changes/2/revert?dry_run=true", {}),
        ("/restore?dry_run=true", {"revision": 1}),
    ],
)
async def test_write_of_many_keys_returns_the_first_changes(
    service: Service, path: str, body: object
) -> None:
    result = (await put_all(service, 1))[1]["change_sets"][0]
    await put_all(service, 2, version=1)

    status, answer, _ = await post(service, path, body)

    undone = answer["change_sets"][0]
    for item in (result, undone):
        assert [change["key"] for change in item["changes"]] == KEYS[:100]
        assert (item["changes_count"], item["next"]) == (150, KEYS[99])
    assert status == 200
    assert undone["changes"][0]["after"]["value"] == 1


async def test_change_set_is_read_in_pages(service: Service) -> None:
    await put_all(service, {"a": 1})

    whole = await pages(service, "/changes/1")
    small = await pages(service, "/changes/1", limit="7")
    item = (await get(service, "/changes"))[0]["items"][0]

    assert [change["key"] for change in whole] == KEYS
    assert small == whole
    assert item["changes"] == whole[:100]
    assert (item["changes_count"], item["next"]) == (150, KEYS[99])


async def test_difference_is_read_in_pages(service: Service) -> None:
    await put_all(service, 1)
    await put_all(service, 2, version=1)

    forward = await pages(service, "/diff", **{"from": "1", "to": "2", "limit": "40"})
    backward = await pages(service, "/diff", **{"from": "2", "to": "1"})
    across = await pages(service, "/diff", against="staging", limit="149")

    for result in (forward, backward, across):
        assert [change["key"] for change in result] == KEYS
    assert [c["before"]["value"] for c in forward] == [c["after"]["value"] for c in backward]
    assert {change["after"] for change in across} == {None}


async def test_responses_with_large_values_end_early(service: Service) -> None:
    # PostgreSQL compresses such a value to a hundredth.
    value = "x" * 250_000
    for key in KEYS[:12]:
        operations = [{"op": "put", "key": key, "value": value, "version": 0}]
        assert (await post(service, "/changes", {"operations": operations}))[0] == 200

    _, restored, restored_bytes = await post(service, "/restore", {"revision": 0})
    listed, listed_bytes = await get(service, "/changes")
    read, read_bytes = await get(service, "/changes/13")
    _, difference_bytes = await get(service, "/diff", **{"from": "0", "to": "12"})

    assert restored["change_sets"][0]["changes_count"] == 12
    assert read["changes_count"] == 12
    assert len(await pages(service, "/changes/13")) == 12
    assert len(await pages(service, "/diff", **{"from": "0", "to": "12"})) == 12
    assert listed["items"][-1]["revision"] == listed["next"] > 1
    sizes = (restored_bytes, listed_bytes, read_bytes, difference_bytes)
    assert max(sizes) < 3 * MEBIBYTE


async def test_refusal_names_the_first_hundred_keys(service: Service) -> None:
    await put_all(service, 1)

    stale_status, stale, _ = await put_all(service, 2, version=7)
    body = {"from": "staging", "keys": [f"unknown{n}" for n in range(150)]}
    unknown_status, unknown, _ = await post(service, "/promote", body)

    assert (stale_status, unknown_status) == (412, 404)
    for problem in (stale, unknown):
        assert (len(problem["errors"]), problem["errors_count"]) == (100, 150)
        assert "and 140 more" in problem["detail"]


async def test_restore_changes_only_keys_that_differ(service: Service) -> None:
    await put_all(service, 1)
    operations = [{"op": "put", "key": KEYS[3], "value": 5, "version": 1}]
    await post(service, "/changes", {"operations": operations})

    restored = (await post(service, "/restore", {"revision": 1}))[1]["change_sets"][0]
    again = (await post(service, "/restore", {"revision": 1}))[1]["change_sets"]

    assert [change["key"] for change in restored["changes"]] == [KEYS[3]]
    assert (restored["changes_count"], restored["next"]) == (1, None)
    assert again == []


async def test_large_write_has_more_time_than_a_small_one(service: Service) -> None:
    await put_all(service, 1)
    await put_all(service, 2, version=1)
    settings = service.app[SETTINGS]
    http = replace(settings.http, request_timeout_seconds=0.0001)

    with service.using(SETTINGS, replace(settings, http=http)):
        small = (await put_all(service, 3, version=2))[0]
        reverted = (await post(service, "/changes/2/revert", {}))[0]
        restored = (await post(service, "/restore", {"revision": 2}))[0]
        promoted = (await post(service, "/promote", {"from": "staging", "keys": KEYS}))[0]

    assert (small, reverted, restored, promoted) == (503, 200, 200, 200)


async def test_deletion_with_an_old_plan_reads_entries_once(
    service: Service, server: Server
) -> None:
    """Connections retain a plan from the time when the environment had a few entries."""
    with server.admin("suite") as admin:
        admin.execute("vacuum analyze flagstone.configurations")
    database = service.app[DATABASE]

    async def read_rows(connection: Connection) -> int:
        rows: int = await connection.fetchval(
            "select seq_tup_read from pg_stat_xact_user_tables where relname = 'configurations'"
        )
        return rows

    async def write(connection: Connection, operations: Sequence[Operation]) -> int:
        """Write, and return how many rows were read. The server counts earlier ones too."""
        before = await read_rows(connection)
        await apply(connection, "local", operations, actor="test", authority=OPERATOR_AUTHORITY)
        return await read_rows(connection) - before

    async with database.connection() as connection:
        for number in range(8):
            async with connection.transaction():
                await write(connection, [_put("first", number)])
        many = [f"many/{number:04}" for number in range(1_000)]
        async with connection.transaction():
            await write(connection, [_put(key, 0) for key in many])
        async with connection.transaction():
            deletions = [Operation(key=key, content=None, expected=None) for key in many]
            read = await write(connection, deletions)

    assert read <= 20 * len(many)


def _put(key: str, value: int) -> Operation:
    content = Content(kind=Kind.SETTING, value=value)
    return Operation(key=key, content=content, expected=None)
