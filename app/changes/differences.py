"""What differs between two moments of an environment, or between two environments."""

from collections.abc import Mapping

from app.changes import history
from app.changes import properties as own
from app.changes.models import Entry, PropertiesChange
from app.changes.patch import are_same
from app.changes.views import ChangeView, Difference, change_view, entry_view, properties_view
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment, Properties

State = tuple[Mapping[str, Entry], Properties]


async def between_revisions(
    connection: Connection, environment: str, before: int, after: int | None
) -> Difference:
    """Return what happened from one revision to another, by default to now."""
    current = await environments.get(connection, environment)
    return _difference(
        await _state(connection, current, before),
        await _state(connection, current, current.revision if after is None else after),
    )


async def between_environments(
    connection: Connection, environment: str, against: str
) -> Difference:
    """Return what would make the environment equal to the other one, versions aside."""
    states = []
    for name in (environment, against):
        current = await environments.get(connection, name)
        states.append(await _state(connection, current, current.revision))
    return _difference(*states)


async def _state(connection: Connection, current: Environment, revision: int) -> State:
    entries = await history.entries_at(connection, current.name, revision)
    return entries, await history.properties_at(connection, current, revision)


def _difference(left: State, right: State) -> Difference:
    (before, before_properties), (after, after_properties) = left, right
    changes = [
        _view(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())
    ]
    properties = PropertiesChange(before=before_properties, after=after_properties)
    are_same_properties = own.are_same(before_properties, after_properties)
    return Difference(
        changes=[change for change in changes if change is not None],
        properties=None if are_same_properties else properties_view(properties),
    )


def _view(key: str, before: Entry | None, after: Entry | None) -> ChangeView | None:
    left, right = (each.content if each else None for each in (before, after))
    if left is not None and right is not None and are_same(left, right):
        return None
    return change_view(
        key,
        entry_view(left, before.version if before else None),
        entry_view(right, after.version if after else None),
    )
