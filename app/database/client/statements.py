"""Every statement of `sql/`, by name: `await sql.get_thing(connection, key=…)`.

The folder is loaded once, for asyncpg; `run` of `blocking.py` executes the same statements with
psycopg. A test checks that names are unique across all files, and prepares each statement
against the schema.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum

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
    """aiosql's loader, without its search for `/* */`, which no file has.

    The search takes two thirds of the time for all files.
    """

    def load_query_data_from_sql(
        self, sql: str, ns_parts: list[str], fname: Path | str = "<unknown>"
    ) -> list[QueryDatum]:
        _, *statements = sql.split("-- name: ")
        return [self._make_query_datum(text, ns_parts, (fname, 0)) for text in statements]


ADAPTER = _Adapter()
sql: Any = aiosql.from_path(FOLDER, lambda: ADAPTER, loader_cls=_Loader)
