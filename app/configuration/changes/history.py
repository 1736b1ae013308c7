"""Read the history: change sets, who made them, and the history of a key.

`keys` are those that the caller may read. A change set with none of them is as if unknown, unless
it changed the properties of the environment.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from app.access.actors import actor_names
from app.access.permissions import Keys
from app.configuration.changes.history_search import (
    ALL_CHANGE_SETS,
    ChangeSetFilter,
    find_revisions,
)
from app.configuration.changes.models import Kind
from app.configuration.changes.past import unknown_revision
from app.configuration.changes.rows import properties_change_of
from app.configuration.changes.views import (
    CHANGES_MAX,
    ApprovalView,
    ChangeSetPage,
    ChangeSetView,
    ChangeView,
    EntryView,
    KeyChange,
    KeyHistory,
    PropertiesChangeView,
    change_view,
    properties_view,
)
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.protection import approval_of
from app.errors import NotFound
from app.http.wire import LATEST
from app.names import is_stored_key
from app.threads import in_turn

# The changes of a change set on one page, and the key after which the next page begins.
_Page = tuple[list[ChangeView], str | None]
_NO_CHANGES: _Page = ([], None)

# The limit for all values of a page together, before and after.
PAGE_BYTES_MAX = 2 * 1024 * 1024
# At most this much is compared on the event loop.
_QUICK_BYTES = 32 * 1024
# A caller with limited rights is shown the authors of this many change sets.
_AUTHORS_OF = 300


async def get_change_set(
    connection: Connection,
    environment: str,
    revision: int,
    *,
    keys: Keys,
    after: str = "",
    limit: int,
) -> ChangeSetView:
    """Return a change set and a page of its changes. Large values end it early. Raises NotFound."""
    row, properties = await find(connection, environment, revision, keys)
    pages = await _changes(connection, environment, [revision], keys, after=after, limit=limit)
    changes, next_key = pages.get(revision, _NO_CHANGES)
    names = await _names(connection, [row])
    return ChangeSetView(
        **_fields(row, keys, names), changes=changes, next=next_key, properties=properties
    )


async def find(
    connection: Connection, environment: str, revision: int, keys: Keys
) -> tuple[Mapping[str, Any], PropertiesChangeView | None]:
    """Return the row of a change set and its change of the properties. Raises NotFound."""
    first = (await environments.get(connection, environment)).first_revision
    row = await sql.find_change_set(
        connection, environment=environment, revision=revision, prefixes=keys.filter
    )
    if row is None or revision < first:
        raise unknown_revision()
    properties = (await property_changes(connection, environment, [revision])).get(revision)
    if not keys.is_all and not row["changes_count"] and properties is None:
        raise unknown_revision()
    return row, properties


async def list_change_sets(
    connection: Connection,
    environment: str,
    *,
    keys: Keys,
    before: int = LATEST,
    limit: int,
    matching: ChangeSetFilter = ALL_CHANGE_SETS,
) -> ChangeSetPage:
    """Return a page of change sets, the latest first. Large change sets end it before its limit.

    With a filter, the page after the last one may be empty.
    """
    head = await environments.get(connection, environment)
    found = await find_revisions(connection, head, matching, before, limit, keys=keys)
    rows: list[dict[str, Any]] = []
    size = 0
    async for row in sql.list_change_sets(
        connection, environment=environment, revisions=found, prefixes=keys.filter
    ):
        fields = dict(row)
        size += fields.pop("bytes") or 0
        if rows and size > PAGE_BYTES_MAX:
            break
        rows.append(fields)
    revisions = [row["revision"] for row in rows]
    pages = await _changes(connection, environment, revisions, keys, limit=CHANGES_MAX)
    properties = await property_changes(connection, environment, revisions)
    names = await _names(connection, rows)
    items = []
    for row in rows:
        changes, next_key = pages.get(row["revision"], _NO_CHANGES)
        if row["changes_count"] and not changes:
            break  # the page is full
        change = properties.get(row["revision"])
        fields = _fields(row, keys, names)
        items.append(ChangeSetView(**fields, changes=changes, next=next_key, properties=change))
    # Without a filter revisions have no gaps, so the last one shows whether older ones exist.
    more = bool(items) and items[-1].revision > head.first_revision
    if matching != ALL_CHANGE_SETS or not keys.is_all:
        more = more and (len(found) == limit or len(items) < len(found))
    return ChangeSetPage(items=items, next=items[-1].revision if more else None)


async def list_actors(connection: Connection, environment: str, *, keys: Keys) -> dict[str, str]:
    """Return who has written to an environment, with their names.

    If the rights are limited: who has made the latest 300 change sets that the caller may see.
    """
    head = await environments.get(connection, environment)
    if keys.is_all:
        rows = sql.list_actors(connection, environment=environment, first=head.first_revision)
    else:
        revisions = await find_revisions(
            connection, head, ALL_CHANGE_SETS, LATEST, _AUTHORS_OF, keys=keys
        )
        rows = sql.list_actors_of(connection, environment=environment, revisions=revisions)
    return await actor_names(connection, [row["actor"] async for row in rows])


async def key_history(
    connection: Connection, environment: str, key: str, *, before: int = LATEST, limit: int
) -> KeyHistory:
    """Return the changes of a key, the latest first. Raises NotFound if it never existed.

    The caller has checked the right to read the key.
    """
    first = (await environments.get(connection, environment)).first_revision
    rows = [
        row
        async for row in sql.list_key_history(
            connection,
            environment=environment,
            key=key,
            first=first,
            before=before,
            page_size=limit,
            page_bytes=PAGE_BYTES_MAX,
        )
    ]
    if not rows:
        if before == LATEST or not is_stored_key(key):
            raise NotFound("configuration_unknown", "The configuration has never existed.")
        return KeyHistory(items=[], next=None)
    names = await _names(connection, rows)
    items = [
        KeyChange(
            revision=row["revision"],
            kind=row["change_kind"],
            actor=row["actor"],
            message=row["message"],
            created_at=row["created_at"],
            before=_view(row, "before"),
            after=_view(row, "after"),
            **_people(row, names),
        )
        for row in rows
    ]
    return KeyHistory(items=items, next=items[-1].revision if rows[-1]["has_more"] else None)


async def _names(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the authors and approvers of change sets."""
    approvals = [approval for row in rows if (approval := approval_of(row["approval"]))]
    approvers = [approver for approval in approvals for approver in approval.approvers]
    return await actor_names(connection, [*(row["actor"] for row in rows), *approvers])


def _people(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a view that have names."""
    approval = approval_of(row["approval"])
    if approval is not None:
        approval = ApprovalView(
            proposal=approval.proposal,
            approvers=approval.approvers,
            approver_names=tuple(names[approver] for approver in approval.approvers),
            emergency=approval.emergency,
        )
    return {"actor_name": names[row["actor"]], "approval": approval}


async def _changes(
    connection: Connection,
    environment: str,
    revisions: Sequence[int],
    keys: Keys,
    *,
    after: str = "",
    limit: int,
) -> dict[int, _Page]:
    """Return the first changes of each revision; a full page leaves revisions out."""
    rows = [
        row
        async for row in sql.list_changes(
            connection,
            environment=environment,
            revisions=list(revisions),
            prefixes=keys.filter,
            after_key=after,
            page_size=limit,
            page_bytes=PAGE_BYTES_MAX,
        )
    ]
    if not rows or (len(rows) <= CHANGES_MAX and rows[-1]["bytes_before"] < _QUICK_BYTES):
        return _pages(rows)
    return await in_turn("view", lambda: _pages(rows))


def _fields(row: Mapping[str, Any], keys: Keys, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a view. The hash covers all keys, so it needs the right to read all."""
    return {
        **row,
        **_people(row, names),
        "hash": row["hash"] if keys.is_all else None,
    }


def _pages(rows: Sequence[Any]) -> dict[int, _Page]:
    pages: dict[int, _Page] = {}
    for revision, group in groupby(rows, itemgetter("revision")):
        page = list(group)
        views = [change_view(row["key"], _view(row, "before"), _view(row, "after")) for row in page]
        pages[revision] = views, page[-1]["key"] if page[-1]["has_more"] else None
    return pages


async def property_changes(
    connection: Connection, environment: str, revisions: Sequence[int]
) -> dict[int, PropertiesChangeView]:
    if not revisions:
        return {}
    rows = sql.list_property_changes(
        connection, environment=environment, after=min(revisions) - 1, until=max(revisions)
    )
    return {row["revision"]: properties_view(properties_change_of(row)) async for row in rows}


def _view(row: Any, side: str) -> EntryView | None:
    if row[f"{side}_version"] is None:
        return None
    return EntryView(
        kind=row[f"{side}_kind"],
        value=row[f"{side}_value"],
        sealed=row[f"{side}_kind"] == Kind.SECRET,
        schema=row[f"{side}_schema"],
        description=row[f"{side}_description"],
        version=row[f"{side}_version"],
    )
