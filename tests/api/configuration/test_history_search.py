"""The search in the history finds the same change sets by index and by reading all of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from app.configuration.changes import history_search, service
from app.configuration.changes.history import list_actors, list_change_sets
from app.configuration.changes.history_search import ChangeSetFilter, find_revisions
from app.configuration.changes.models import Content, Kind, Operation
from app.database import Connection
from app.environments import service as environments
from app.http.keys import DATABASE
from app.http.wire import LATEST
from tests.conftest import Service

KEYS = ("Area/one", "area/two", "other")
ACTORS = ("token:a", "token:b", "local:c")
NOW = datetime.now(UTC)


def filters() -> Iterator[ChangeSetFilter]:
    times = (None, NOW - timedelta(days=1), NOW + timedelta(days=1))
    actors = (None, ["token:a"], ["token:b", "local:c"], ["token:none"])
    for key, actor, since, until in product((None, "AREA", "two", "none"), actors, times, times):
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
        await service.apply(connection, "local", [operation], actor=ACTORS[number % 7 % 3])


async def test_search_by_index_equals_a_search_of_all(
    filled: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled.app[DATABASE].connection() as connection:
        head = await environments.get(connection, "local")
        for matching, before, limit in product(filters(), (LATEST, 13), (5, 100)):
            found = await find_revisions(connection, head, matching, before, limit)
            with monkeypatch.context() as patch:
                patch.setattr(history_search, "KEYS_MAX", -1)
                # A filter by keys reads all; without a key, the empty text matches all.
                every = ChangeSetFilter(
                    key=matching.key or "",
                    actors=matching.actors,
                    since=matching.since,
                    until=matching.until,
                )
                expected = await find_revisions(connection, head, every, before, limit)
            assert found == expected, (matching, before, limit)


async def test_pages_have_all_change_sets_once(filled: Service) -> None:
    revisions: list[int] = []
    async with filled.app[DATABASE].connection() as connection:
        before: int | None = LATEST
        while before is not None:
            page = await list_change_sets(connection, "local", before=before, limit=7)
            revisions += [item.revision for item in page.items]
            before = page.next

    assert revisions == list(range(24, 0, -1))


async def test_actors_are_those_of_the_environment(filled: Service) -> None:
    async with filled.app[DATABASE].connection() as connection:
        actors = await list_actors(connection, "local")
        others = await list_actors(connection, "staging")

    assert (actors, others) == (sorted(ACTORS), [])
