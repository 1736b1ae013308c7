"""Every statement of `sql/`, by name: `await sql.get_thing(connection, key=…)`.

The folder is loaded once, for asyncpg; `run` executes the same statements on psycopg's blocking
connections. aiosql's adapter for asyncpg keeps parameters by bare name, so names are unique across
all files: the loader refuses a second one. A test prepares each statement against the schema.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum
from aiosql.utils import SQLLoadException
from psycopg.rows import tuple_row

FOLDER = Path(__file__).parents[3] / "sql"


class _Adapter(AsyncPGAdapter):
    """aiosql's adapter for asyncpg, without its search for a pool.

    aiosql's own inspects all attributes of the connection at every statement, in case it is a pool.
    That took a fifth of the process's time for a write.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def select(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> AsyncGenerator[Any, None]:
        del record_class
        for row in await conn.fetch(sql, *self.ordered(query_name, parameters)):
            yield row

    async def select_one(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> Any:
        del record_class
        return await conn.fetchrow(sql, *self.ordered(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self.ordered(query_name, parameters))

    async def insert_update_delete(
        self, conn: Any, query_name: str, sql: str, parameters: Any
    ) -> None:
        await conn.execute(sql, *self.ordered(query_name, parameters))

    def ordered(self, query_name: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        return [parameters[name] for name in self.var_sorted[query_name]]


class _Loader(QueryLoader):
    """aiosql's loader, which refuses a name that is used twice instead of replacing the first."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._files: dict[str, str] = {}

    def load_query_data_from_sql(
        self, sql: str, ns_parts: list[str], fname: Path | str = "<unknown>"
    ) -> list[QueryDatum]:
        statements = super().load_query_data_from_sql(sql, ns_parts, fname)
        for statement in statements:
            name = statement.query_name
            if name in self._files:
                raise SQLLoadException(f"{name} is in {self._files[name]} and in {fname}")
            self._files[name] = str(fname)
        return statements


def load(folder: Path, adapter: _Adapter | None = None) -> Any:
    """Return the statements of a folder. Raises SQLLoadException for a name that is used twice."""
    return aiosql.from_path(folder, lambda: adapter or _Adapter(), loader_cls=_Loader)


_adapter = _Adapter()
sql = load(FOLDER, _adapter)


def run(
    connection: psycopg.Connection[Any],
    statement: Any,
    row_factory: Any = tuple_row,
    **parameters: object,
) -> psycopg.RawCursor[Any]:
    """Execute a statement of `sql` on a connection of psycopg, and return the cursor."""
    cursor = psycopg.RawCursor(connection, row_factory=row_factory)
    return cursor.execute(statement.sql, _adapter.ordered(statement.__name__, parameters))
