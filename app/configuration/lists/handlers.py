"""HTTP handlers of lists. The guard has checked the token, see `access/guard.py`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

import msgspec
from aiohttp import hdrs, web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.configuration.changes.administration import record_emergencies
from app.configuration.changes.past import Moment
from app.configuration.changes.write_options import (
    OPTIONS,
    WriteOptions,
    message_of,
    options_of,
)
from app.configuration.entries.service import check_key, check_stored_key
from app.configuration.lists import reading, service
from app.configuration.lists.exporting import ExportFormat, file_parts
from app.configuration.lists.models import ListPatch, ListResult
from app.configuration.lists.service import ListTarget, UploadMode
from app.configuration.lists.staging import UPLOADS, Staged
from app.configuration.lists.upload_reader import UploadFormat, UploadReader
from app.configuration.lists.writing import (
    Change,
    checked_patch,
    receive,
    state_for_proposals,
    write,
)
from app.configuration.snapshots.reading import wait_until_served
from app.database import Connection
from app.errors import Unsupported, malformed
from app.http import conditions, wire
from app.http.bodies import stream_body
from app.http.headers import entity_tag, revision_header
from app.http.keys import DATABASE
from app.http.writes import run_write, transact
from app.threads import in_thread

UPLOAD_BYTES_MAX = 256 * 1024 * 1024
UPLOAD_TYPES = tuple(UploadFormat)
# From the head of the request to its answer, and from the end of the body to the answer.
_UPLOAD_SECONDS = 3_600.0
_WRITE_SECONDS = 120.0
_DESCRIPTION_MAX = 2_000


async def list_values(request: web.Request) -> web.Response:
    """List the values of a list.

    Pages have a fixed order. Give `value` to look up one value: the page then has it or is empty.
    Give `revision` or `at` to read a past state.
    """
    query = wire.read_query(request, {"value", "after", "limit", "revision", "at"})
    limit = wire.page_size(query)
    async with request.app[DATABASE].connection() as connection:
        path = request.match_info
        moment = wire.moment(query)
        list_ = await reading.find(connection, path["environment"], path["key"], moment)
        if "value" in query:
            page = await reading.lookup(connection, list_, query["value"])
        else:
            page = await reading.page(connection, list_, after=query.get("after", ""), limit=limit)
    headers = revision_header(list_.epoch, list_.revision)
    headers[hdrs.ETAG] = entity_tag(list_.configuration.version, list_.epoch)
    return wire.answer(page, headers=headers)


async def export_list(request: web.Request) -> web.StreamResponse:
    """Export all values of a list as CSV or NDJSON.

    The answer is a file that an upload takes.
    """
    query = wire.read_query(request, {"type", "revision", "at"})
    format_ = wire.choice(query, "type", ExportFormat) or ExportFormat.CSV
    return await answer_export(request, format_, wire.moment(query))


async def answer_export(
    request: web.Request, format_: ExportFormat, moment: Moment | None
) -> web.StreamResponse:
    """Send all values of the list of the path as a file."""
    path = request.match_info
    async with request.app[DATABASE].connection() as connection:
        list_ = await reading.find(connection, path["environment"], path["key"], moment)
    headers = revision_header(list_.epoch, list_.revision)
    headers[hdrs.ETAG] = entity_tag(list_.configuration.version, list_.epoch)
    headers[hdrs.CONTENT_TYPE] = UploadFormat[format_.name]
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    async with aclosing(file_parts(request.app[DATABASE], list_, format_)) as parts:
        async for part in parts:
            await response.write(part)
    await response.write_eof()
    return response


async def upload_list(request: web.Request) -> web.Response:
    """Upload a list.

    The body is CSV or NDJSON, with a value and perhaps its expiry in each line. It replaces the
    list, or `operation` adds its values or removes them. The upload is one change set. If it is
    cut, nothing changes.
    """
    query = wire.read_query(request, {"operation", "message", "description", *OPTIONS})
    mode = wire.choice(query, "operation", UploadMode) or UploadMode.REPLACE
    may_create = mode is not UploadMode.REMOVE
    options, message = options_of(request, query), message_of(query)
    target = _target(request, query, options, message, may_create=may_create)
    if request.content_type not in set(UploadFormat):
        rule = f"must be {' or '.join(UploadFormat)}"
        raise Unsupported("content_type_unsupported", f"The body {rule}.")
    reader = UploadReader(UploadFormat(request.content_type))
    wire.allow(request, _UPLOAD_SECONDS)
    async with aclosing(stream_body(request, UPLOAD_BYTES_MAX)) as parts:
        result = await run_upload(request, target, mode, reader, parts)
    return await _answer(request, target, result)


async def run_upload(
    request: web.Request,
    target: ListTarget,
    mode: UploadMode,
    reader: UploadReader,
    parts: AsyncIterator[bytes],
) -> ListResult:
    """Stage the values of a file, and write the next state of a list."""
    may_create = mode is not UploadMode.REMOVE
    uploads, database = request.app[UPLOADS], request.app[DATABASE]
    staged: Staged | None = None
    with uploads.one():
        try:
            async with database.connection() as connection:
                # Before the body, so that a client learns at once that its version is old.
                staged = await service.begin(connection, target, mode)
            await receive(database, staged, reader, parts)
            wire.allow(request, _WRITE_SECONDS)
            change = partial(service.upload, staged=staged, mode=mode)
            work = partial(_write, request, target, change, may_create=may_create)
            async with (
                database.shares.held(target.environment),
                state_for_proposals(database, target, change, may_create=may_create),
            ):
                return await transact(database, work, dry_run=target.authority.is_dry_run)
        finally:
            if staged is not None and not staged.is_adopted:
                uploads.discard_soon(staged.store)


async def patch_list(request: web.Request) -> web.Response:
    """Add values to a list, and remove values from it.

    `If-Match` has the version of the entry. To add a value again changes its expiry.
    """
    query = wire.read_query(request, OPTIONS)
    options = options_of(request, query)
    body = await wire.read_body(
        request, ListPatch, types=wire.MERGE_PATCH, answer_seconds=_WRITE_SECONDS
    )
    target = _target(request, query, options, body.message, may_create=False)
    result = await run_patch(request, target, body)
    return await _answer(request, target, result)


async def run_patch(request: web.Request, target: ListTarget, body: ListPatch) -> ListResult:
    """Write the state of a list after a patch. Raises Invalid for a wrong value."""
    add, remove = await in_thread("check list", lambda: checked_patch(body))
    change = partial(service.patch, add=add, remove=remove)
    async with state_for_proposals(request.app[DATABASE], target, change, may_create=False):
        return await run_write(
            request,
            partial(_write, request, target, change, may_create=False),
            actor=target.actor,
            answer_type=ListResult,
            dry_run=target.authority.is_dry_run,
        )


async def _write(
    request: web.Request,
    target: ListTarget,
    change: Change,
    connection: Connection,
    *,
    may_create: bool,
) -> ListResult:
    """Write the next state of a list, and log an emergency."""
    result = await write(connection, target, change, may_create=may_create)
    await record_emergencies(connection, request.app[ACCESS_LOG], [result], origin(request))
    return result


def _target(
    request: web.Request,
    query: Mapping[str, str],
    options: WriteOptions,
    message: str,
    *,
    may_create: bool,
) -> ListTarget:
    """Return the key to change. Raises Malformed, Invalid and ConditionMissing."""
    description = query.get("description")
    if description is not None and len(description) > _DESCRIPTION_MAX:
        raise malformed("description", f"must have at most {_DESCRIPTION_MAX:,} characters")
    key = request.match_info["key"]
    return ListTarget(
        environment=request.match_info["environment"],
        key=check_key(key) if may_create else check_stored_key(key),
        expected=conditions.read_expected_version(request, may_create=may_create),
        actor=request[CALLER].actor,
        message=message,
        description=description,
        authority=options.authority(message),
    )


async def _answer(request: web.Request, target: ListTarget, result: ListResult) -> web.Response:
    if target.authority.is_dry_run:
        return wire.answer(msgspec.structs.replace(result, dry_run=True))
    await wait_until_served(request, result.environment, result.revision)
    headers = revision_header(result.epoch, result.revision)
    headers[hdrs.ETAG] = entity_tag(result.version, result.epoch)
    return wire.answer(result, status=201 if result.created else 200, headers=headers)
