"""Handlers for schema changes and migrations."""

from aiohttp import web

from app.database import Connection, sql
from app.http import wire
from app.http.keys import DATABASE
from app.schema.drift import inspect_recording
from app.schema.models import MigrationList, MigrationView, SchemaAuditPage, SchemaChangeView


async def list_schema_changes(request: web.Request) -> web.Response:
    """List the recorded changes of the database schema.

    The latest comes first.
    """
    query = wire.read_query(request, {"before", "limit"})
    before, limit = wire.before(query), wire.page_size(query)

    async with request.app[DATABASE].connection() as connection:
        page = await read_changes(connection, before=before, limit=limit)

    return wire.answer(page)


async def list_migrations(request: web.Request) -> web.Response:
    """List the migrations of the database.

    The latest comes first.
    """
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        ledger = await read_ledger(connection)

    return wire.answer(ledger)


async def read_changes(connection: Connection, *, before: int, limit: int) -> SchemaAuditPage:
    """Return a page of the recorded schema changes, the latest first."""
    recording, is_readable = await inspect_recording(connection)
    changes: list[SchemaChangeView] = []
    if is_readable:
        rows = sql.list_schema_changes(
            connection,
            before=before,
            # One more row than the page shows whether another page follows.
            page_size=limit + 1,
        )
        changes = [SchemaChangeView(**row) async for row in rows]
    items = changes[:limit]
    return SchemaAuditPage(
        status=recording.status,
        reason=recording.reason,
        items=items,
        next=items[-1].id if len(changes) > limit else None,
    )


async def read_ledger(connection: Connection) -> MigrationList:
    """Return the migrations of the database, the latest first."""
    return MigrationList(
        items=[MigrationView(**row) async for row in sql.list_migrations(connection)]
    )
