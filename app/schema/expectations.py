"""One hash over all expected schemas that were ever stored. Signed heads contain it.

Without it the owner of the tables could change the expected schemas later, to hide a manual change.
"""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from app.database import Connection, sql
from app.database.catalog.fingerprint import PRINT_SETTINGS
from app.database.client.drivers import SEARCH_PATH

_LATEST = sys.maxsize


class Expectations(NamedTuple):
    """The hash over all rows of `schema_fingerprints` up to `id`."""

    id: int
    hash: str


async def find_expectations(connection: Connection, last: int = _LATEST) -> Expectations | None:
    """Return the hash up to the id `last`. None without rows, or before the table exists."""
    if not await sql.has_expected_schema(connection):
        return None
    async with connection.transaction():
        # Otherwise a function of the owner could replace one of PostgreSQL.
        await connection.execute(PRINT_SETTINGS)
        row = await sql.hash_expected_schemas(connection, last=last)
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
    return None if row["id"] is None else Expectations(row["id"], row["hash"])


async def find_mismatch(
    connection: Connection, signed: Iterable[tuple[int, Expectations | None]]
) -> int | None:
    """Return the first revision whose signed expectations differ from the stored ones."""
    stored: dict[int, Expectations | None] = {}
    for revision, expected in signed:
        if expected is None:
            continue
        if expected.id not in stored:
            stored[expected.id] = await find_expectations(connection, expected.id)
        if stored[expected.id] != expected:
            return revision
    return None
