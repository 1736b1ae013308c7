"""The HTTP side of configurations: who may is decided before, see `access/guard.py`."""

import hashlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from app.access.guard import CALLER
from app.changes.idempotency import Repeatable, check_key, once
from app.changes.models import Expected, Kind
from app.configurations import service
from app.configurations.models import NewConfiguration, Written
from app.database import Connection
from app.errors import malformed
from app.http import wire
from app.http.keys import DATABASE


async def list_configurations(request: web.Request) -> web.Response:
    """List an environment's configurations, a page by key."""
    query = wire.read_query(request, {"prefix", "kind", "after", "limit"})
    kind, limit = _kind(query.get("kind")), wire.page_size(query)

    async with request.app[DATABASE].connection() as connection:
        page, epoch = await service.list_page(
            connection,
            request.match_info["environment"],
            prefix=query.get("prefix", ""),
            kind=kind,
            after=query.get("after", ""),
            limit=limit,
        )

    return wire.answer(page, headers=wire.revision_header(epoch, page.revision))


async def get_configuration(request: web.Request) -> web.Response:
    """Read one configuration; its version is the ETag."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        found, epoch, revision = await service.get(connection, *_place(request))

    headers = wire.revision_header(epoch, revision) | {"ETag": wire.entity_tag(found.version)}
    if wire.is_not_modified(request, headers["ETag"]):
        return wire.not_modified(headers)
    return wire.answer(found, headers=headers)


async def put_configuration(request: web.Request) -> web.Response:
    """Create or replace one configuration, under the version that the caller expects."""
    wire.read_query(request, set())
    expected = _expected(wire.read_condition(request, may_create=True))
    wanted = await wire.read_body(request, NewConfiguration)
    place, actor = _place(request), request[CALLER].actor

    return await _write(
        request, lambda c: service.put(c, *place, wanted, expected=expected, actor=actor)
    )


async def delete_configuration(request: web.Request) -> web.Response:
    """Delete one configuration, under the version that the caller expects; its history stays."""
    wire.read_query(request, set())
    expected = _expected(wire.read_condition(request, may_create=False))
    place, actor = _place(request), request[CALLER].actor

    return await _write(
        request, lambda c: service.delete(c, *place, expected=expected, actor=actor)
    )


async def _write(
    request: web.Request, work: Callable[[Connection], Awaitable[Written]]
) -> web.Response:
    """Do the work in a transaction, once for each Idempotency-Key, and answer with its outcome."""
    repeatable = await _repeatable(request)
    actor = request[CALLER].actor

    written = await request.app[DATABASE].transact(
        lambda c: once(c, repeatable, actor=actor, answer_type=Written, work=lambda: work(c))
    )

    headers = wire.revision_header(written.epoch, written.revision)
    if written.version is not None:
        headers["ETag"] = wire.entity_tag(written.version)
    if written.created:
        headers["Location"] = request.raw_path
    return wire.answer(written, status=201 if written.created else 200, headers=headers)


def _place(request: web.Request) -> tuple[str, str]:
    return request.match_info["environment"], request.match_info["key"]


def _kind(text: str | None) -> Kind | None:
    if text is None:
        return None
    if text not in set(Kind):
        raise malformed("kind", f"must be one of {', '.join(Kind)}")
    return Kind(text)


def _expected(condition: wire.Condition) -> Expected:
    return Expected(version=condition.version, any=condition.present)


async def _repeatable(request: web.Request) -> Repeatable | None:
    """Return the request's Idempotency-Key, with the digest of all that makes it this request."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    body = await wire.receive(request) if request.body_exists else b""
    conditions = (request.headers.get(name, "") for name in ("If-Match", "If-None-Match"))
    head = "\n".join((request.method, request.raw_path, *conditions)).encode()
    return Repeatable(key=check_key(key), request=hashlib.sha256(head + b"\n\n" + body).digest())
