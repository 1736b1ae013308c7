"""Every statement of `sql/`, by name: `await sql.get_thing(connection, key=…)`.

aiosql's adapter for asyncpg keeps parameters by bare name, so names are unique across all files:
the loader refuses a second one. A test prepares each statement against the schema.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum
from aiosql.utils import SQLLoadException

FOLDER = Path(__file__).parents[3] / "sql"


class _Adapter(AsyncPGAdapter):
    """aiosql's, for connections alone.

    Its own looks through all attributes of what it is given, lest that be a pool: at every
    statement, and together a fifth of this process's time for a write.
    """

    async def select(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> AsyncGenerator[Any, None]:
        del record_class
        for row in await conn.fetch(sql, *self._ordered(query_name, parameters)):
            yield row

    async def select_one(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> Any:
        del record_class
        return await conn.fetchrow(sql, *self._ordered(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self._ordered(query_name, parameters))

    async def insert_update_delete(
        self, conn: Any, query_name: str, sql: str, parameters: Any
    ) -> None:
        await conn.execute(sql, *self._ordered(query_name, parameters))

    def _ordered(self, query_name: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        return [parameters[name] for name in self.var_sorted[query_name]]


class _Loader(QueryLoader):
    """aiosql's, which would let the last statement of a name replace the others."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._files: dict[str, str] = {}

    def load_query_data_from_sql(
        self, sql: str, ns_parts: list[str], fname: Path | str = "<unknown>"
    ) -> list[QueryDatum]:
        found = super().load_query_data_from_sql(sql, ns_parts, fname)
        for name in (each.query_name for each in found):
            if name in self._files:
                raise SQLLoadException(f"{name} is in {self._files[name]} and in {fname}")
            self._files[name] = str(fname)
        return found


def load(folder: Path) -> Any:
    """Return the statements of a folder. Raises SQLLoadException for a name that is used twice."""
    return aiosql.from_path(folder, _Adapter, loader_cls=_Loader)


sql = load(FOLDER)
