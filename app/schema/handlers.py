"""Handlers for schema changes and migrations."""

from aiohttp import web

from app.database import sql
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
    page = SchemaAuditPage(
        status=recording.status,
        reason=recording.reason,
        items=items,
        next=items[-1].id if len(changes) > limit else None,
    )
    return wire.answer(page)


async def list_migrations(request: web.Request) -> web.Response:
    """List the migrations of the database.

    The latest comes first.
    """
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        items = [MigrationView(**row) async for row in sql.list_migrations(connection)]

    return wire.answer(MigrationList(items=items))
