"""Past states: cached by environment, epoch and revision, and bounded."""

import asyncio
from typing import Any

import pytest

from app.configuration.snapshots.snapshot import Snapshot
from app.console import past_states
from app.console.past_states import SNAPSHOTS_MAX, PastStates
from app.errors import NotFound
from app.http.keys import DATABASE
from tests.api.console.test_changes import write
from tests.conftest import Service


async def read(
    service: Service, states: PastStates, revision: int, name: str = "local"
) -> Snapshot:
    return await states.read(service.app[DATABASE], name, revision)


async def send(service: Service, method: str, path: str, **options: Any) -> None:
    async with service.client.request(method, f"/v1/environments{path}", **options) as answer:
        assert answer.status in (200, 201), await answer.text()


async def test_past_state_is_built_once_for_parallel_requests(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))
    states = PastStates()

    first, second = await asyncio.gather(*(read(service, states, 1) for _ in range(2)))

    assert first is second
    assert first.entries["limit"].configuration.value == 5
    assert (first.revision, first.environment.revision) == (1, 1)


async def test_least_recently_read_states_are_forgotten(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(SNAPSHOTS_MAX + 1):
        await write(service, limit=(number, number))
    states = PastStates()
    first = await read(service, states, 1)
    for revision in range(2, SNAPSHOTS_MAX + 2):
        await read(service, states, revision)

    assert await read(service, states, 1) is not first
    last = await read(service, states, SNAPSHOTS_MAX + 1)
    monkeypatch.setattr(past_states, "ENTRIES_MAX", 1)
    await read(service, states, 2)
    assert await read(service, states, SNAPSHOTS_MAX + 1) is not last


async def test_deleted_environment_has_no_past(service: Service) -> None:
    await send(service, "POST", "", json={"name": "trial", "tier": "staging"})
    put = {"json": {"value": 1}, "headers": {"If-None-Match": "*"}}
    await send(service, "PUT", "/trial/configurations/limit", **put)
    states = PastStates()
    before = await read(service, states, 2, "trial")
    assert before.keys == ["limit"]

    await send(service, "DELETE", "/trial", headers={"If-Match": '"2"'})
    with pytest.raises(NotFound):
        await read(service, states, 2, "trial")
    await send(service, "POST", "", json={"name": "trial", "tier": "staging"})

    with pytest.raises(NotFound):
        await read(service, states, 2, "trial")
