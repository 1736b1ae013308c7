"""The page with the texts that repeat a change set."""

from collections.abc import Iterator
from typing import Any, cast

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.changes.history import get_change_set
from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.configuration.changes.views import CHANGES_MAX, ChangeSetView
from app.configuration.snapshots.snapshot import Configuration
from app.console.copying.texts import CopyTexts, WriteOperation, copy_texts
from app.console.rendering import page
from app.console.state import read_state
from app.http.keys import DATABASE
from app.http.service_address import service_address


async def get_copy(request: web.Request) -> web.Response:
    """Show how to repeat a change set from a terminal."""
    state = await read_state(request)
    environment, revision = request.match_info["environment"], int(request.match_info["revision"])
    async with request.app[DATABASE].connection() as connection:
        change_set = await get_change_set(
            connection, environment, revision, keys=readable_keys(request), limit=CHANGES_MAX
        )
    texts = None
    if change_set.properties is None and change_set.next is None:
        texts = texts_for(request, list(_operations(change_set)), change_set.message)
    return page(request, "copying/copy.html", state=state, change_set=change_set, texts=texts)


def texts_for(
    request: web.Request, operations: list[WriteOperation], message: str
) -> CopyTexts | None:
    """Return the texts of a write to the environment of the path, None for a large one."""
    environment = request.match_info["environment"]
    return copy_texts(service_address(request), environment, operations, message)


def entry_texts(
    request: web.Request,
    entry: Configuration,
    value: Any,
    description: str | None,
    message: str,
) -> CopyTexts | None:
    """Return the texts of a draft of an entry."""
    operation = PutOperation(
        key=entry.key,
        version=entry.version,
        value=value,
        kind=cast("Any", entry.kind),
        schema=entry.schema,
        description=description,
    )
    return texts_for(request, [operation], message)


def _operations(change_set: ChangeSetView) -> Iterator[WriteOperation]:
    for change in change_set.changes:
        before = change.before.version if change.before is not None else 0
        if change.after is None:
            yield DeleteOperation(key=change.key, version=before)
        else:
            yield PutOperation(
                key=change.key,
                version=before,
                value=change.after.value,
                kind=cast("Any", change.after.kind),
                schema=change.after.schema,
                description=change.after.description,
            )
