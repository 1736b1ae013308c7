"""Relays get the lists that flags use, and their changes."""

from pathlib import Path
from weakref import WeakValueDictionary

import pytest

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from app.evaluation import lists
from app.evaluation.lists import HashedList
from tests.api.configuration.test_lists import FUTURE, LOCAL, outcome, patch, put_flag, upload
from tests.api.relay.relays import bearer, relaying
from tests.conftest import Service


@pytest.fixture(params=[0, 11_000])
def more(request: pytest.FixtureRequest) -> list[str]:
    """Values besides those of the test: a small list is read again, a large one is changed."""
    return [f"user-{number}" for number in range(request.param)]


async def test_relay_evaluates_lists_and_follows_their_changes(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    await upload(service, "\n".join(["ada", f"bob,{FUTURE}", *more]))
    await put_flag(service)
    token = await service.token(Scope.RELAY, Scope.EVALUATE)
    # As in another process: the relay has no list yet.
    monkeypatch.setattr(lists, "LOADED", WeakValueDictionary[str, HashedList]())
    async with relaying(service.url, token, tmp_path) as relay:
        relay.client.headers.update(bearer(token))
        answers = [await outcome(service, key, client=relay.client) for key in ("ada", "bob", "x")]
        assert answers == [True, True, False]

        _, result = await patch(service, 1, add=["x"], remove=["ada"])
        await relay.reach("local", result["revision"])

        answers = [await outcome(service, key, client=relay.client) for key in ("ada", "bob", "x")]
        assert answers == [False, True, True]

        reverted = await service.client.post(
            f"{LOCAL}/changes/{result['revision']}/revert", json={}
        )
        assert reverted.status == 200
        await relay.reach("local", result["revision"] + 1)
        answers = [await outcome(service, key, client=relay.client) for key in ("ada", "bob", "x")]
        assert answers == [True, True, False]


async def test_relay_gets_no_list_of_a_foreign_environment(service: Service) -> None:
    _, result = await upload(service, "ada\n")
    token = await service.token(Scope.RELAY, environments=("staging",))
    path = f"/relay/v1/lists/{result['digest']}"
    answer = await service.stranger.get(path, headers=bearer(token))
    assert answer.status == 404
    token = await service.token(Scope.RELAY, environments=("local",))
    assert (await service.stranger.get(path, headers=bearer(token))).status == 200


@pytest.mark.slow
async def test_relay_with_many_lists_gets_all_of_them(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(130):
        status, _ = await upload(service, f"user-{number}\n", key=f"list-{number}")
        assert status == 201
    token = await service.token(Scope.RELAY, Scope.EVALUATE)
    monkeypatch.setattr(lists, "LOADED", WeakValueDictionary[str, HashedList]())
    async with relaying(service.url, token, tmp_path) as relay:
        rules = relay.app[FOLLOWER].get("local").rules
        assert len(rules.lists) == 130
