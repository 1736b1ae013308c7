"""All that the schema was ever expected to be, as one hash: heads are signed with it.

Whoever owns the tables could otherwise write down, afterwards, that a change by hand was meant.
"""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from app.database import Connection, sql
from app.database.catalog.fingerprint import PINNED
from app.database.client.drivers import SEARCH_PATH

_LATEST = sys.maxsize


class Expectations(NamedTuple):
    """All rows of `schema_fingerprints` up to the one with this id."""

    id: int
    hash: str


async def find_expectations(connection: Connection, last: int = _LATEST) -> Expectations | None:
    """Return those up to the one with an id, or all; None where there are none, or no table yet."""
    if not await sql.has_expected_schema(connection):
        return None
    async with connection.transaction():
        # A function of the owner's could answer in place of PostgreSQL's own otherwise.
        await connection.execute(PINNED)
        row = await sql.hash_expected_schemas(connection, last=last)
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
    return None if row["id"] is None else Expectations(row["id"], row["hash"])


async def find_mismatch(
    connection: Connection, signed: Iterable[tuple[int, Expectations | None]]
) -> int | None:
    """Return the first revision that was signed with expectations that differ from the stored."""
    kept: dict[int, Expectations | None] = {}
    for revision, expected in signed:
        if expected is None:
            continue
        if expected.id not in kept:
            kept[expected.id] = await find_expectations(connection, expected.id)
        if kept[expected.id] != expected:
            return revision
    return None
