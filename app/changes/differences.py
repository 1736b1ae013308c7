"""What differs between two moments of an environment, or between two environments."""

from collections.abc import Mapping

from app.changes import history
from app.changes.models import Entry
from app.changes.patch import are_same
from app.changes.views import ChangeView, Difference, change_view, entry_view
from app.database import Connection
from app.environments import service as environments


async def between_revisions(
    connection: Connection, environment: str, before: int, after: int | None
) -> Difference:
    """Return what happened from one revision to another, by default to now."""
    if after is None:
        after = (await environments.get(connection, environment)).revision
    return _difference(
        await history.entries_at(connection, environment, before),
        await history.entries_at(connection, environment, after),
    )


async def between_environments(
    connection: Connection, environment: str, against: str
) -> Difference:
    """Return what would make the environment equal to the other one, versions aside."""
    states = []
    for name in (environment, against):
        revision = (await environments.get(connection, name)).revision
        states.append(await history.entries_at(connection, name, revision))
    return _difference(*states)


def _difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Difference:
    changes = [
        _view(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())
    ]
    return Difference(changes=[change for change in changes if change is not None])


def _view(key: str, before: Entry | None, after: Entry | None) -> ChangeView | None:
    left, right = (each.content if each else None for each in (before, after))
    if left is not None and right is not None and are_same(left, right):
        return None
    return change_view(
        key,
        entry_view(left, before.version if before else None),
        entry_view(right, after.version if after else None),
    )
