"""Execute statements of `sql/` with psycopg, for migrations, provisioning and backups."""

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from app.database.client.statements import ADAPTER


def run(
    connection: psycopg.Connection[Any],
    statement: Any,
    row_factory: Any = tuple_row,
    **parameters: object,
) -> psycopg.RawCursor[Any]:
    """Execute a statement of `sql` on a connection of psycopg, and return the cursor."""
    cursor = psycopg.RawCursor(connection, row_factory=row_factory)
    return cursor.execute(statement.sql, ADAPTER.ordered(statement.__name__, parameters))
