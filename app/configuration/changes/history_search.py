"""Find the change sets of a page of the history, however long it is.

Without a filter their revisions are known. A filter by actors or by keys uses an index. A caller
whose rights are limited to some keys finds the change sets of these, and those that changed the
properties of the environment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.access.permissions import Keys
from app.database import Connection, sql
from app.environments.models import Environment

# With more keys, a change set that matches is soon found from the end of the history.
KEYS_MAX = 300
# For a caller of some keys, the index of changes is read from its end for this many revisions, in
# 2 ms. If they do not fill the page, each of at most 10,000 keys is looked up, in 6 µs.
RECENT_REVISIONS = 2_000
KEYS_BELOW_MAX = 10_000
# The times of revisions may be out of order, but never by an hour.
_DISORDER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class ChangeSetFilter:
    """The change sets to list: with a part of a key, by these actors, from `since` to `until`."""

    key: str | None = None
    actors: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


ALL_CHANGE_SETS = ChangeSetFilter()


async def find_revisions(
    connection: Connection,
    head: Environment,
    matching: ChangeSetFilter,
    before: int,
    limit: int,
    *,
    keys: Keys,
) -> list[int]:
    """Return the latest revisions before the given one that match, at most `limit`.

    `keys` are those that the caller may read.
    """
    first, before = head.first_revision, min(before, head.revision + 1)
    if matching == ALL_CHANGE_SETS and keys.is_all:
        return list(range(before - 1, max(first, before - limit) - 1, -1))
    if matching.since is not None:
        first = max(first, await _revision_at(connection, head, matching.since - _DISORDER))
    if matching.until is not None:
        before = min(before, await _revision_at(connection, head, matching.until) + 1)
    actors = None if matching.actors is None else list(matching.actors)
    bounds: dict[str, Any] = {
        "environment": head.name,
        "first": first,
        "before": before,
        "since": matching.since,
        "until": matching.until,
        "page_size": limit,
    }
    if not keys.is_all:
        return await _below(connection, head, matching.key, keys, actors=actors, **bounds)
    names = None if matching.key is None else await _keys_like(connection, head, matching.key)
    if names is not None:
        rows = sql.list_revisions_of_keys(connection, keys=names, actors=actors, **bounds)
    elif actors is not None and matching.key is None:
        rows = sql.list_revisions_of_actors(connection, actors=actors, **bounds)
    else:
        rows = sql.list_revisions(connection, key=matching.key, actors=actors, **bounds)
    return [row["revision"] async for row in rows]


async def _below(
    connection: Connection, head: Environment, part: str | None, keys: Keys, **bounds: Any
) -> list[int]:
    """Return the revisions that changed one of the keys, or the properties of the environment."""
    filters = {"prefixes": keys.filter, "key": part}
    recent = {**bounds, "first": max(bounds["first"], bounds["before"] - RECENT_REVISIONS)}
    rows = sql.list_revisions_below(connection, **filters, **recent)
    found = {row["revision"] async for row in rows}
    if len(found) < bounds["page_size"] and recent != bounds:
        # To look up a change of a key by an actor may read all of its changes.
        names_max = KEYS_BELOW_MAX if bounds["actors"] is None else KEYS_MAX
        names = await _keys_below(connection, head, part, keys, names_max)
        if names is not None:
            rows = sql.list_revisions_of_keys(connection, keys=names, **bounds)
        else:
            rows = sql.list_revisions_below(connection, **filters, **bounds)
        found = {row["revision"] async for row in rows}
    if part is None:
        rows = sql.list_property_revisions(connection, **bounds)
        found |= {row["revision"] async for row in rows}
    return sorted(found, reverse=True)[: bounds["page_size"]]


async def _keys_like(connection: Connection, head: Environment, part: str) -> list[str] | None:
    """Return the keys that contain the text, None if they are many."""
    rows = sql.list_keys_like(
        connection,
        environment=head.name,
        part=part,
        first=head.first_revision,
        page_size=KEYS_MAX + 1,
    )
    names = [row["key"] async for row in rows]
    return names if len(names) <= KEYS_MAX else None


async def _keys_below(
    connection: Connection, head: Environment, part: str | None, keys: Keys, names_max: int
) -> list[str] | None:
    """Return those of the keys that contain the text, None if they are many."""
    rows = sql.list_keys_below(
        connection,
        environment=head.name,
        part=part,
        prefixes=keys.filter,
        first=head.first_revision,
        page_size=names_max + 1,
    )
    names = [row["key"] async for row in rows]
    return names if len(names) <= names_max else None


async def _revision_at(connection: Connection, head: Environment, at: datetime) -> int:
    revision: int | None = await sql.find_revision_at(connection, environment=head.name, at=at)
    return revision or 0
