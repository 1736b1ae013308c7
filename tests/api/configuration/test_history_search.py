"""The search in the history finds the same change sets by index and by reading all of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from app.access.permissions import ALL_KEYS, NO_KEYS, Keys
from app.configuration.changes import history_search, service
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.history import list_actors, list_change_sets
from app.configuration.changes.history_search import ChangeSetFilter, find_revisions
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.properties import PropertiesPatch
from app.configuration.changes.views import ChangeSetView
from app.database import Connection
from app.environments import service as environments
from app.http.keys import DATABASE
from app.http.wire import LATEST
from tests.conftest import Service

KEYS = ("Area/one", "area/two", "other")
ACTORS = ("token:a", "token:b", "local:c")
NOW = datetime.now(UTC)


def filters() -> Iterator[ChangeSetFilter]:
    """Yield all filters by key and actor, and some of them with each limit in time."""
    keys, actors = (None, "AREA", "two", "none"), (None, ["token:a"], ["token:b", "local:c"], ["x"])
    for key, actor in product(keys, actors):
        yield ChangeSetFilter(key=key, actors=actor)
    past, future = NOW - timedelta(days=1), NOW + timedelta(days=1)
    limits = ((past, None), (future, None), (None, past), (None, future), (past, future))
    for key, actor in product((None, "AREA"), (None, ["token:b", "local:c"])):
        for since, until in limits:
            yield ChangeSetFilter(key=key, actors=actor, since=since, until=until)


@pytest.fixture
async def filled(service: Service) -> Service:
    await service.app[DATABASE].transact(_write)
    return service


async def _write(connection: Connection) -> None:
    for number in range(24):
        key = KEYS[number % 3]
        content = None if number in {9, 15} else Content(kind=Kind.SETTING, value=number)
        operation = Operation(key=key, content=content, expected=None)
        await service.apply(
            connection,
            "local",
            [operation],
            actor=ACTORS[number % 7 % 3],
            authority=OPERATOR_AUTHORITY,
        )


async def test_search_by_index_equals_a_search_of_all(
    filled: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled.app[DATABASE].connection() as connection:
        head = await environments.get(connection, "local")
        for matching, before, limit in product(filters(), (LATEST, 13), (5, 100)):
            found = await find_revisions(connection, head, matching, before, limit, keys=ALL_KEYS)
            with monkeypatch.context() as patch:
                patch.setattr(history_search, "KEYS_MAX", -1)
                # A filter by keys reads all; without a key, the empty text matches all.
                every = ChangeSetFilter(
                    key=matching.key or "",
                    actors=matching.actors,
                    since=matching.since,
                    until=matching.until,
                )
                expected = await find_revisions(
                    connection, head, every, before, limit, keys=ALL_KEYS
                )
            assert found == expected, (matching, before, limit)


async def test_pages_have_all_change_sets_once(filled: Service) -> None:
    revisions: list[int] = []
    async with filled.app[DATABASE].connection() as connection:
        before: int | None = LATEST
        while before is not None:
            page = await list_change_sets(
                connection, "local", keys=ALL_KEYS, before=before, limit=7
            )
            revisions += [item.revision for item in page.items]
            before = page.next

    assert revisions == list(range(24, 0, -1))


async def test_actors_are_those_of_the_environment(filled: Service) -> None:
    async with filled.app[DATABASE].connection() as connection:
        actors = await list_actors(connection, "local", keys=ALL_KEYS)
        others = await list_actors(connection, "staging", keys=ALL_KEYS)

    assert (actors, others) == ({"token:a": "token a", "token:b": "token b", "local:c": "c"}, {})


# Of the keys that other tests of this module use: one, several, and none. Some prefixes of the
# second sort around the keys.
LIMITED = (
    Keys.below(["Area/"]),
    Keys.below(["0", "Area/onf", "Z", "area/tw", "area/two/", "oth/", "othe", "z"]),
    Keys.below(["are"]),
    NO_KEYS,
)


async def _write_several(connection: Connection) -> None:
    """Write change sets of several keys, and one of properties alone."""
    for number in range(6):
        operations = [
            Operation(key=key, content=Content(kind=Kind.SETTING, value=-number), expected=None)
            for key in KEYS[number % 3 :]
        ]
        await service.apply(
            connection, "local", operations, actor=ACTORS[number % 3], authority=OPERATOR_AUTHORITY
        )
    patch = PropertiesPatch(metadata={"owner": "platform"}, expected=None)
    await service.apply(
        connection, "local", [], actor="token:b", patch=patch, authority=OPERATOR_AUTHORITY
    )


@pytest.mark.slow
@pytest.mark.parametrize("keys", LIMITED)
@pytest.mark.parametrize(("keys_max", "recent"), [(-1, 0), (300, 0), (-1, 9), (300, 9), (300, 99)])
async def test_search_finds_change_sets_of_own_keys(
    filled: Service, monkeypatch: pytest.MonkeyPatch, keys: Keys, keys_max: int, recent: int
) -> None:
    await filled.app[DATABASE].transact(_write_several)
    monkeypatch.setattr(history_search, "KEYS_MAX", keys_max)
    monkeypatch.setattr(history_search, "KEYS_BELOW_MAX", keys_max)
    monkeypatch.setattr(history_search, "RECENT_REVISIONS", recent)
    async with filled.app[DATABASE].connection() as connection:
        every = (await list_change_sets(connection, "local", keys=ALL_KEYS, limit=100)).items
        head = await environments.get(connection, "local")
        for matching, before, limit in product(filters(), (LATEST, 28, 13), (2, 100)):
            found = await find_revisions(connection, head, matching, before, limit, keys=keys)
            expected = [
                item.revision
                for item in every
                if item.revision < before and _is_visible(item, matching, keys)
            ]
            assert found == expected[:limit], (matching, before, limit)


def _is_visible(item: ChangeSetView, matching: ChangeSetFilter, keys: Keys) -> bool:
    own = [change.key for change in item.changes if change.key in keys]
    if matching.key is not None:
        is_match = any(matching.key.lower() in key.lower() for key in own)
    else:
        is_match = bool(own) or item.properties is not None
    return (
        is_match
        and (matching.actors is None or item.actor in matching.actors)
        and (matching.since is None or item.created_at >= matching.since)
        and (matching.until is None or item.created_at < matching.until)
    )


async def test_pages_of_own_keys_are_full_and_complete(filled: Service) -> None:
    await filled.app[DATABASE].transact(_write_several)
    keys = Keys.below(["area/"])
    items: list[ChangeSetView] = []
    sizes = []
    async with filled.app[DATABASE].connection() as connection:
        before: int | None = LATEST
        while before is not None:
            page = await list_change_sets(connection, "local", keys=keys, before=before, limit=3)
            items += page.items
            sizes.append(len(page.items))
            before = page.next
        actors = await list_actors(connection, "local", keys=keys)

    # Every third of the first 24, four of the next six, and the change of the properties.
    assert [item.revision for item in items] == [31, 29, 28, 26, 25, 23, 20, 17, 14, 11, 8, 5, 2]
    assert sizes[:4] == [3, 3, 3, 3]
    assert {change.key for item in items for change in item.changes} == {"area/two"}
    assert [item.changes_count for item in items] == [0] + [1] * 12
    assert {item.hash for item in items} == {None}
    assert actors == {item.actor: item.actor_name for item in items}
