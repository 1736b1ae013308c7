"""Compare two revisions of an environment, or two environments."""

from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from app.configuration.changes import history
from app.configuration.changes.json_patch import have_same_content
from app.configuration.changes.models import Entry, PropertiesChange
from app.configuration.changes.properties import have_same_properties
from app.configuration.changes.views import (
    CHANGES_BYTES_MAX,
    ChangeView,
    Difference,
    change_view,
    entry_view,
    properties_view,
)
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.threads import in_turn

State = tuple[Mapping[str, Entry], Properties]


async def between_revisions(
    connection: Connection,
    environment: str,
    before: int,
    after: int | None,
    *,
    after_key: str = "",
    limit: int | None = None,
) -> Difference:
    """Return a page of the changes from one revision to another, by default the latest.

    A page of large values ends before its limit. Raises NotFound, Unavailable.
    """
    current = await environments.get(connection, environment)
    last = current.revision if after is None else after
    rows = sql.list_changed_keys(
        connection,
        environment=environment,
        after_revision=min(before, last),
        up_to_revision=max(before, last),
    )
    keys = [row["key"] async for row in rows if row["key"] > after_key]
    left = await _state(connection, current, before, keys)
    right = await _state(connection, current, last, keys)
    return await _difference(left, right, after_key, limit)


async def between_environments(
    connection: Connection,
    environment: str,
    against: str,
    *,
    after_key: str = "",
    limit: int | None = None,
) -> Difference:
    """Return a page of the changes that would make the environment equal to the other one.

    Ignores versions. A page of large values ends before its limit. Raises NotFound, Unavailable.
    """
    states = []
    for name in (environment, against):
        current = await environments.get(connection, name)
        states.append(await _state(connection, current, current.revision))
    return await _difference(states[0], states[1], after_key, limit)


async def _state(
    connection: Connection, current: Environment, revision: int, keys: Sequence[str] | None = None
) -> State:
    entries = await history.entries_at(connection, current.name, revision, keys)
    return entries, await history.properties_at(connection, current, revision)


async def _difference(left: State, right: State, after_key: str, limit: int | None) -> Difference:
    (before, before_properties), (after, after_properties) = left, right
    properties = PropertiesChange(before=before_properties, after=after_properties)
    has_same_properties = have_same_properties(before_properties, after_properties)
    changes, next_key = await in_turn("compare", lambda: _page(before, after, after_key, limit))
    return Difference(
        changes=changes,
        next=next_key,
        properties=None if has_same_properties else properties_view(properties),
    )


def _page(
    before: Mapping[str, Entry], after: Mapping[str, Entry], after_key: str, limit: int | None
) -> tuple[list[ChangeView], str | None]:
    """Return the first changes, and the last key when there are more."""
    keys = (key for key in sorted(before.keys() | after.keys()) if key > after_key)
    views = (_view(key, before.get(key), after.get(key)) for key in keys)
    changes = (view for view in views if view is not None)
    if limit is None:
        return list(changes), None
    page: list[ChangeView] = []
    size = 0
    for change in islice(changes, limit + 1):
        size += len(msgspec.json.encode(change))
        if page and (len(page) == limit or size > CHANGES_BYTES_MAX):
            return page, page[-1].key
        page.append(change)
    return page, None


def _view(key: str, before: Entry | None, after: Entry | None) -> ChangeView | None:
    left, right = (entry.content if entry else None for entry in (before, after))
    if left is not None and right is not None and have_same_content(left, right):
        return None
    return change_view(
        key,
        entry_view(left, before.version if before else None),
        entry_view(right, after.version if after else None),
    )
