"""Compare two revisions of an environment, or two environments."""

from collections.abc import Mapping
from contextlib import aclosing
from functools import partial

import msgspec

from app.access.permissions import Keys
from app.configuration.changes import past
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
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Properties
from app.threads import in_turn


async def between_revisions(
    connection: Connection,
    environment: str,
    before: int,
    after: int | None,
    *,
    keys: Keys,
    after_key: str = "",
    limit: int | None = None,
) -> Difference:
    """Return a page of the changes of keys from one revision to another, by default the latest.

    A page of large values ends before its limit. Raises NotFound, Unavailable.
    """
    current = await environments.get(connection, environment)
    last = current.revision if after is None else after
    page = _Page(limit)
    changed = past.changed_keys(
        connection,
        environment,
        min(before, last),
        max(before, last),
        keys=keys,
        after_key=after_key,
    )
    async with aclosing(changed):
        async for names in changed:
            left = await past.entries_at(connection, environment, before, names)
            right = await past.entries_at(connection, environment, last, names)
            await in_turn("compare", partial(page.add, left, right))
            if page.next is not None:
                break
    before_properties = await past.properties_at(connection, current, before)
    after_properties = await past.properties_at(connection, current, last)
    return _difference(page, before_properties, after_properties)


async def between_environments(
    connection: Connection,
    environment: str,
    against: str,
    *,
    keys: Keys,
    after_key: str = "",
    limit: int | None = None,
) -> Difference:
    """Return a page of the changes of keys that would make the environment equal to the other one.

    Ignores versions. A page of large values ends before its limit. Raises NotFound, Unavailable.
    """
    left, right = [await environments.get(connection, name) for name in (environment, against)]
    before = await past.all_entries_at(connection, left.name, left.revision, keys=keys)
    after = await past.all_entries_at(connection, right.name, right.revision, keys=keys)
    page = _Page(limit)
    await in_turn("compare", lambda: page.add(before, after, after_key))
    return _difference(page, left.properties, right.properties)


class _Page:
    """The first changes, and the last key when there are more."""

    def __init__(self, limit: int | None) -> None:
        self.changes: list[ChangeView] = []
        self.next: str | None = None
        self._limit = limit
        self._size = 0

    def add(
        self, before: Mapping[str, Entry], after: Mapping[str, Entry], after_key: str = ""
    ) -> None:
        """Add the changes of the keys, in order, until the page is full."""
        for key in sorted(key for key in before.keys() | after.keys() if key > after_key):
            view = _view(key, before.get(key), after.get(key))
            if view is None:
                continue
            if self._limit is not None:
                self._size += len(msgspec.json.encode(view))
                is_full = len(self.changes) == self._limit or self._size > CHANGES_BYTES_MAX
                if self.changes and is_full:
                    self.next = self.changes[-1].key
                    return
            self.changes.append(view)


def _difference(page: _Page, before: Properties, after: Properties) -> Difference:
    properties = PropertiesChange(before=before, after=after)
    has_same_properties = have_same_properties(before, after)
    return Difference(
        changes=page.changes,
        next=page.next,
        properties=None if has_same_properties else properties_view(properties),
    )


def _view(key: str, before: Entry | None, after: Entry | None) -> ChangeView | None:
    left, right = (entry.content if entry else None for entry in (before, after))
    if left is not None and right is not None and have_same_content(left, right):
        return None
    return change_view(
        key,
        entry_view(left, before.version if before else None),
        entry_view(right, after.version if after else None),
    )
