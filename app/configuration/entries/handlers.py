"""HTTP handlers of configurations. The guard has checked the token, see `access/guard.py`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin, readable_keys
from app.access.permissions import Keys
from app.configuration.changes.administration import record_emergencies
from app.configuration.changes.content_checks import find_format_error
from app.configuration.changes.group_commit import GROUP_COMMIT, is_groupable
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.past import Moment
from app.configuration.changes.write_options import (
    OPTIONS,
    message_of,
    options_of,
    read_options,
)
from app.configuration.changes.write_requests import CHECKS
from app.configuration.entries import service
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.configuration.snapshots.reading import (
    peek_snapshot,
    read_snapshot,
    snapshot_head_lines,
    wait_until_served,
)
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.database import Connection
from app.errors import NotFound
from app.http import conditions, wire
from app.http.encoded import EncodedResponse, encoded
from app.http.headers import entity_tag, revision_header
from app.http.keys import DATABASE, ORDINARY
from app.http.writes import checked, run_write
from app.secrets.reveal import VAULT, log_reveal, wants_secrets

_FILTERS = {"prefix", "kind", "after", "limit"}


async def list_configurations(request: web.Request) -> web.Response:
    """List the configurations of an environment.

    Give `revision` or `at` to list a past state. Pages are in the order of keys.
    """
    query = wire.read_query(request, {*_FILTERS, "revision", "at", "min_revision"})
    moment = wire.moment(query)
    filters = _read_filters(query)
    if moment is not None:
        return await _list_at(request, moment, filters)

    return _page(request, await read_snapshot(request, query), filters)


def hot_configurations(request: web.Request, _: bytes) -> EncodedResponse | None:
    """Answer a list of the current state as `list_configurations` does."""
    if not _FILTERS.issuperset(request.query):
        return None
    filters = _read_filters(wire.read_query(request, _FILTERS))
    snapshot = peek_snapshot(request)
    return None if snapshot is None else _page(request, snapshot, filters)


def _read_filters(query: Mapping[str, str]) -> dict[str, Any]:
    return {
        "prefix": query.get("prefix", ""),
        "kind": wire.choice(query, "kind", Kind),
        "after": query.get("after", ""),
        "limit": wire.page_size(query),
    }


def _page(request: web.Request, snapshot: Snapshot, filters: dict[str, Any]) -> EncodedResponse:
    head = snapshot_head_lines(request, snapshot)
    return encoded(snapshot.encoded_page(**filters), "application/json", head)


async def get_configuration(request: web.Request) -> web.Response:
    """Read a configuration.

    Give `revision` or `at` to read a past state. The ETag contains the version. A secret is masked
    unless `reveal` is true, which needs the scope reveal.
    """
    query = wire.read_query(request, {"revision", "at", "min_revision", "reveal"})
    moment = wire.moment(query) if query else None
    if query and wants_secrets(request, query):
        return await _reveal(request, moment)
    if moment is not None:
        return await _get_at(request, moment)

    return _current(request, await read_snapshot(request, query))


def hot_configuration(request: web.Request, _: bytes) -> EncodedResponse | None:
    """Answer a read without parameters as `get_configuration` does."""
    if "?" in request.raw_path:
        return None
    snapshot = peek_snapshot(request)
    return None if snapshot is None else _current(request, snapshot)


def _current(request: web.Request, snapshot: Snapshot) -> EncodedResponse:
    configuration = snapshot.entries.get(request.match_info["key"])
    if configuration is None:
        service.check_stored_key(request.match_info["key"])
        request[ORDINARY] = True
        raise NotFound("configuration_unknown", "There is no such configuration.")

    head = snapshot_head_lines(request, snapshot)
    if conditions.is_not_modified(request, configuration.etag):
        return EncodedResponse(b"", head + configuration.head_not_modified, status=304)
    return EncodedResponse(configuration.body, head + configuration.head)


async def _list_at(request: web.Request, moment: Moment, filters: dict[str, Any]) -> web.Response:
    environment = request.match_info["environment"]
    keys = readable_keys(request) & Keys.below([filters.pop("prefix")])
    async with request.app[DATABASE].connection() as connection:
        page, epoch = await service.list_page(connection, environment, moment, keys=keys, **filters)

    return wire.answer(page, headers=revision_header(epoch, page.revision))


async def _get_at(request: web.Request, moment: Moment) -> web.Response:
    async with request.app[DATABASE].connection() as connection:
        configuration, revision, epoch = await service.get(connection, *_path(request), moment)

    headers = revision_header(epoch, revision)
    headers["ETag"] = entity_tag(configuration.version, epoch)
    if conditions.is_not_modified(request, headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return wire.answer(configuration, headers=headers)


async def _reveal(request: web.Request, moment: Moment | None) -> web.Response:
    vault = request.app[VAULT]

    async def work(connection: Connection) -> tuple[Configuration, int, str]:
        read = await service.get(connection, *_path(request), moment, vault=vault)
        if read[0].kind == Kind.SECRET:
            await log_reveal(connection, request, key=read[0].key, version=read[0].version)
        return read

    # The access log has the read before the response is sent; without it there is no response.
    configuration, revision, epoch = await request.app[DATABASE].transact(work)

    headers = revision_header(epoch, revision)
    headers["ETag"] = entity_tag(configuration.version, epoch)
    return wire.answer(configuration, headers=headers)


async def put_configuration(request: web.Request) -> web.Response:
    """Create or replace a configuration.

    To create an entry, send `If-None-Match: *`. To replace one, send its version as `If-Match`. The
    body replaces the whole entry: a property that it lacks gets its default.
    """
    options = read_options(request)
    expected = conditions.read_expected_version(request, may_create=True)
    body = await wire.read_body(request, NewConfiguration)
    # Before the transaction, because a check may take a second.
    operation = await checked(request, _check(request, Content.of(body), expected))
    environment, actor, vault = _path(request)[0], request[CALLER].actor, request.app[VAULT]
    authority = options.authority(body.message)

    group_commit = request.app[GROUP_COMMIT]
    # A write with an option or an Idempotency-Key has a transaction of its own.
    is_plain = options.is_plain and "Idempotency-Key" not in request.headers
    if group_commit is not None and is_plain and is_groupable(operation()):
        change_set = await group_commit.write(
            environment,
            operation(),
            actor=actor,
            message=body.message,
            authority=authority,
        )
        return await _answer(request, service.result_of(change_set))

    return await _write(
        request,
        lambda c: service.write(
            *(c, environment, operation()),
            actor=actor,
            message=body.message,
            vault=vault,
            authority=authority,
        ),
        dry_run=options.dry_run,
    )


async def delete_configuration(request: web.Request) -> web.Response:
    """Delete a configuration.

    `If-Match` has the version of the entry. The history remains.
    """
    query = wire.read_query(request, OPTIONS | {"message"})
    options, message = options_of(request, query), message_of(query)
    authority = options.authority(message)
    expected = conditions.read_expected_version(request, may_create=False)
    (environment, key), actor = _path(request), request[CALLER].actor

    async def delete(connection: Connection) -> WriteResult:
        operation = Operation(key=service.check_stored_key(key), content=None, expected=expected)
        return await service.write(
            *(connection, environment, operation),
            actor=actor,
            message=message,
            authority=authority,
        )

    return await _write(request, delete, dry_run=options.dry_run)


async def _check(
    request: web.Request, content: Content, expected: conditions.ExpectedVersion
) -> Operation:
    key = service.check_key(request.match_info["key"])
    refusal = await request.app[CHECKS].run(
        [content], lambda check: find_format_error(content, check)
    )
    return Operation(key=key, content=content, expected=expected, refusal=refusal)


async def _write(
    request: web.Request, work: Callable[[Connection], Awaitable[WriteResult]], *, dry_run: bool
) -> web.Response:
    log, caller = request.app[ACCESS_LOG], origin(request)

    async def recorded(connection: Connection) -> WriteResult:
        written = await work(connection)
        await record_emergencies(connection, log, [written], caller)
        return written

    written = await run_write(
        request, recorded, actor=caller.actor, answer_type=WriteResult, dry_run=dry_run
    )
    if dry_run:
        return wire.answer(msgspec.structs.replace(written, dry_run=True))
    return await _answer(request, written)


async def _answer(request: web.Request, written: WriteResult) -> web.Response:
    await wait_until_served(request, written.environment, written.revision)

    headers = revision_header(written.epoch, written.revision)
    if written.version is not None:
        headers["ETag"] = entity_tag(written.version, written.epoch)
    if written.created:
        headers["Location"] = request.rel_url.raw_path
    return wire.answer(written, status=201 if written.created else 200, headers=headers)


def _path(request: web.Request) -> tuple[str, str]:
    return request.match_info["environment"], request.match_info["key"]
