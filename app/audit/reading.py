"""The chain as it is stored: change sets from the first to the last, in pages of bounded size."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from app.changes.models import Change, ChangeKind, Content, Entry, Kind, PropertiesChange
from app.database import Connection, sql
from app.environments.models import Properties
from app.vault.models import sealed_of

PAGE_SIZE = 1_000
_PAGE_BYTES_MAX = 4 * 1024 * 1024
# What comes of rows that no service has written, such as JSON of a depth that none takes.
UNREADABLE = (ValueError, RecursionError, msgspec.MsgspecError)


class UnreadableError(Exception):
    """A change set, by its revision, holds what no service has written."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        super().__init__(f"revision {revision} cannot be read")


@dataclass(frozen=True, kw_only=True)
class StoredLink:
    """A change set as it is stored. `hash` is None for one that is older than the chain."""

    revision: int
    kind: ChangeKind
    actor: str
    message: str
    created_at: datetime
    hash: bytes | None
    changes: list[Change] = field(default_factory=list)
    properties: PropertiesChange | None = None


async def pages(
    connection: Connection, environment: str, after: int
) -> AsyncIterator[list[StoredLink]]:
    """Yield the change sets that follow on a revision, in order.

    In one transaction that sees one moment, or a writer's change set may come in between. Raises
    UnreadableError.
    """
    page_size = PAGE_SIZE
    while True:
        rows = [
            row
            async for row in sql.list_links(
                connection,
                environment=environment,
                after=after,
                page_size=page_size,
                page_bytes=_PAGE_BYTES_MAX,
            )
        ]
        if not rows:
            return
        until = rows[-1]["revision"]
        try:
            page = await _page(connection, environment, after, rows)
        except UNREADABLE:
            if len(rows) == 1:
                raise UnreadableError(until) from None
            page_size = 1  # to find out which of them it is
            continue
        yield page
        after = until


async def _page(
    connection: Connection, environment: str, after: int, rows: Sequence[Any]
) -> list[StoredLink]:
    span = {"environment": environment, "after": after, "until": rows[-1]["revision"]}
    changes: dict[int, list[Change]] = defaultdict(list)
    async for row in sql.list_linked_changes(connection, **span):
        changes[row["revision"]].append(_change(environment, row))
    properties = {
        row["revision"]: PropertiesChange(
            before=_properties(row, "before", row["version"] - 1),
            after=_properties(row, "after", row["version"]),
        )
        async for row in sql.list_linked_properties(connection, **span)
    }
    return [
        StoredLink(
            revision=row["revision"],
            kind=ChangeKind(row["kind"]),
            actor=row["actor"],
            message=row["message"],
            created_at=row["created_at"],
            hash=row["hash"],
            changes=changes.get(row["revision"], []),
            properties=properties.get(row["revision"]),
        )
        for row in rows
    ]


def _change(environment: str, row: Any) -> Change:
    version = row["before_version"]
    return Change(
        key=row["key"],
        before=Entry(
            key=row["key"],
            content=_content(environment, row, "before"),
            version=version,
            last_version=version or 0,
        ),
        after=_content(environment, row, "after"),
        version=row["after_version"],
    )


def _content(environment: str, row: Any, side: str) -> Content | None:
    version = row[f"{side}_version"]
    if version is None:
        return None
    return Content(
        kind=Kind(row[f"{side}_kind"]),
        value=row[f"{side}_value"],
        sealed=sealed_of(environment, row["key"], version, row[f"{side}_sealed"]),
        schema=row[f"{side}_schema"],
        description=row[f"{side}_description"],
    )


def _properties(row: Any, side: str, version: int) -> Properties:
    return Properties(
        metadata=row[f"{side}_metadata"],
        fractional=row[f"{side}_fractional"],
        protected=row[f"{side}_protected"],
        version=version,
    )
