"""HTTP handlers of lists. The guard has checked the token, see `access/guard.py`."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from functools import partial

import msgspec
from aiohttp import hdrs, web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.configuration.changes.administration import record_emergencies
from app.configuration.changes.write_options import OPTIONS, message_of, options_of
from app.configuration.entries.service import check_key, check_stored_key
from app.configuration.lists import reading, service, staging
from app.configuration.lists.models import ListPatch, ListResult, StoredValue
from app.configuration.lists.reading import ReadList
from app.configuration.lists.service import Current, ListTarget, UploadMode, Written
from app.configuration.lists.staging import BATCH, UPLOADS, Staged
from app.configuration.lists.upload_reader import UploadFormat, UploadReader
from app.configuration.lists.values import ListValue, ValueRuleError, checked_value, expiry_of
from app.configuration.snapshots.reading import wait_until_served
from app.database import Connection, Database
from app.errors import ApprovalRequired, Invalid, Unsupported, Violation, invalid, malformed
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
_VIOLATIONS_MAX = 20

# Writes the next state of a list.
Change = Callable[[Connection, Current], Awaitable[Written]]


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


async def list_values(request: web.Request) -> web.Response:
    """List the values of a list.

    Pages have a fixed order. Give `value` to look up one value: the page then has it or is empty.
    Give `revision` or `at` to read a past state.
    """
    query = wire.read_query(request, {"value", "after", "limit", "revision", "at"})
    limit = wire.page_size(query)
    async with request.app[DATABASE].connection() as connection:
        list_ = await _find(connection, request, query)
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
    async with request.app[DATABASE].connection() as connection:
        list_ = await _find(connection, request, query)
    headers = revision_header(list_.epoch, list_.revision)
    headers[hdrs.ETAG] = entity_tag(list_.configuration.version, list_.epoch)
    headers[hdrs.CONTENT_TYPE] = UploadFormat[format_.name]
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if format_ is ExportFormat.CSV:
        await response.write(b"value,expires_at\n")
    async with aclosing(reading.all_values(request.app[DATABASE], list_)) as pages:
        async for page in pages:
            text = await in_thread("write list", partial(_written, page, format_))
            await response.write(text)
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
    target = _target(request, query, may_create=may_create)
    authority = options_of(request, query).authority(target.message)
    target = replace(target, authority=authority)
    if request.content_type not in set(UploadFormat):
        rule = f"must be {' or '.join(UploadFormat)}"
        raise Unsupported("content_type_unsupported", f"The body {rule}.")
    reader = UploadReader(UploadFormat(request.content_type))
    uploads, database = request.app[UPLOADS], request.app[DATABASE]
    wire.allow(request, _UPLOAD_SECONDS)
    staged: Staged | None = None
    with uploads.one():
        try:
            async with database.connection() as connection:
                # Before the body, so that a client learns at once that its version is old.
                staged = await service.begin(connection, target, mode)
            await _receive(request, database, staged, reader)
            wire.allow(request, _WRITE_SECONDS)
            change = partial(service.upload, staged=staged, mode=mode)
            write = partial(_write, request, target, change, may_create=may_create)
            async with (
                database.shares.held(target.environment),
                _state_for_proposals(request, target, change, may_create=may_create),
            ):
                result = await transact(database, write, dry_run=target.authority.is_dry_run)
        finally:
            if staged is not None and not staged.is_adopted:
                uploads.discard_soon(staged.store)
    return await _answer(request, target, result)


async def patch_list(request: web.Request) -> web.Response:
    """Add values to a list, and remove values from it.

    `If-Match` has the version of the entry. To add a value again changes its expiry.
    """
    query = wire.read_query(request, OPTIONS)
    options = options_of(request, query)
    target = _target(request, query, may_create=False)
    body = await wire.read_body(
        request, ListPatch, types=wire.MERGE_PATCH, answer_seconds=_WRITE_SECONDS
    )
    authority = options.authority(body.message)
    target = replace(target, message=body.message, authority=authority)
    add, remove = await in_thread("check list", lambda: _checked_patch(body))
    change = partial(service.patch, add=add, remove=remove)
    async with _state_for_proposals(request, target, change, may_create=False):
        result = await run_write(
            request,
            partial(_write, request, target, change, may_create=False),
            actor=target.actor,
            answer_type=ListResult,
            dry_run=options.dry_run,
        )
    return await _answer(request, target, result)


async def _write(
    request: web.Request,
    target: ListTarget,
    change: Change,
    connection: Connection,
    *,
    may_create: bool,
) -> ListResult:
    """Write the next state of a list and the entry that names it."""
    current = await service.read_current(connection, target, may_create=may_create)
    written = await change(connection, current)
    result = await service.write_entry(connection, target, current, written)
    await record_emergencies(connection, request.app[ACCESS_LOG], [result], origin(request))
    return result


@asynccontextmanager
async def _state_for_proposals(
    request: web.Request, target: ListTarget, change: Change, *, may_create: bool
) -> AsyncIterator[None]:
    """Store the state of a refused write that needs approval: a proposal names it by its digest."""
    try:
        yield
    except ApprovalRequired:

        async def write_state(connection: Connection) -> None:
            current = await service.read_current(connection, target, may_create=may_create)
            await change(connection, current)

        await request.app[DATABASE].transact(write_state)
        raise


async def _receive(
    request: web.Request, database: Database, staged: Staged, reader: UploadReader
) -> None:
    """Stage the values of the body in batches."""
    waiting: list[tuple[str, int | None]] = []

    async def flush(least: int) -> None:
        while len(waiting) >= least and waiting:
            batch, waiting[:BATCH] = waiting[:BATCH], []
            async with database.connection() as connection:
                await staging.add(connection, staged, batch)

    async with aclosing(stream_body(request, UPLOAD_BYTES_MAX)) as parts:
        async for part in parts:
            waiting += await in_thread("read list", partial(reader.read, part))
            await flush(BATCH)
    waiting += reader.read(b"", is_last=True)
    await flush(1)


def _checked_patch(body: ListPatch) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Return the values to add and those to remove. Raises Invalid."""
    violations: list[Violation] = []
    add: dict[str, int | None] = {}
    remove = dict.fromkeys(body.remove)
    for place, item in enumerate(body.add):
        value = item if isinstance(item, ListValue) else ListValue(value=item)
        try:
            add[checked_value(value.value)] = expiry_of(value.expires_at)
        except ValueRuleError as error:
            violations.append(Violation(f"add[{place}]", str(error)))
    for place, text in enumerate(body.remove):
        try:
            checked_value(text)
        except ValueRuleError as error:
            violations.append(Violation(f"remove[{place}]", str(error)))
        if text in add:
            violations.append(Violation(f"remove[{place}]", "must not be added too"))
    if violations:
        raise Invalid.of("list_invalid", violations[:_VIOLATIONS_MAX])
    if not add and not remove:
        raise invalid("add", "must have a value, or remove")
    return list(add.items()), list(remove)


def _target(request: web.Request, query: Mapping[str, str], *, may_create: bool) -> ListTarget:
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
        message=message_of(query),
        description=description,
    )


async def _find(connection: Connection, request: web.Request, query: Mapping[str, str]) -> ReadList:
    path = request.match_info
    return await reading.find(connection, path["environment"], path["key"], wire.moment(query))


async def _answer(request: web.Request, target: ListTarget, result: ListResult) -> web.Response:
    if target.authority.is_dry_run:
        return wire.answer(msgspec.structs.replace(result, dry_run=True))
    await wait_until_served(request, result.environment, result.revision)
    headers = revision_header(result.epoch, result.revision)
    headers[hdrs.ETAG] = entity_tag(result.version, result.epoch)
    return wire.answer(result, status=201 if result.created else 200, headers=headers)


def _written(page: Sequence[StoredValue], format_: ExportFormat) -> bytes:
    if format_ is ExportFormat.NDJSON:
        items = (item if item.expires_at else item.value for item in page)
        return b"".join(msgspec.json.encode(item) + b"\n" for item in items)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for item in page:
        row = [item.value]
        if item.expires_at:
            row.append(item.expires_at.isoformat())
        writer.writerow(row)
    return text.getvalue().encode()
