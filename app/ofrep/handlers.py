"""The endpoints of OFREP: one flag, or all of them."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.flags.handlers import USAGE
from app.http import conditions
from app.http.encoded import EncodedResponse
from app.ofrep.answers import EvaluationError, cors_head, respond
from app.ofrep.requests import read_context, read_snapshot
from app.ofrep.tickets import TICKETS
from app.snapshots.reading import moment_head
from app.snapshots.snapshot import Snapshot

INACTIVITY_SECONDS = 120


async def evaluate_flag(request: web.Request) -> web.Response:
    """Evaluate one flag for a context."""
    snapshot = await read_snapshot(request)
    context, _ = await read_context(request)

    flag = snapshot.rules.flags.get(request.match_info["key"])
    if flag is None:
        raise EvaluationError("FLAG_NOT_FOUND", "There is no such flag.", status=404)
    found = flag.evaluate(context, int(time.time()))

    request.app[USAGE].count(snapshot.environment.name, (found,))
    status = 200 if found.outcome.error_code is None else 400
    return respond(request, found.body, moment_head(request, snapshot), status=status)


async def evaluate_flags(request: web.Request) -> web.Response:
    """Evaluate every flag for a context; the ETag covers all that the answer depends on."""
    snapshot = await read_snapshot(request)
    context, raw = await read_context(request)
    tail = _tail(request, snapshot)

    etag, body = _etag(snapshot.epoch.encode(), snapshot.rules.digest.to_bytes(16), raw, tail), b""
    if snapshot.rules.uses_time:
        # What it says may change by itself, so only what it says can tell whether it has.
        body = _evaluated(request, snapshot, context, tail)
        etag = _etag(body)
    head = moment_head(request, snapshot) + f"ETag: {etag}\r\n".encode()
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", cors_head(request) + head, status=304)
    return respond(request, body or _evaluated(request, snapshot, context, tail), head)


def _evaluated(
    request: web.Request, snapshot: Snapshot, context: Mapping[str, Any], tail: bytes
) -> bytes:
    now = int(time.time())
    found = [flag.evaluate(context, now) for flag in snapshot.rules.flags.values()]
    request.app[USAGE].count(snapshot.environment.name, found)
    return b'{"flags":[%b]%b' % (b",".join([each.body for each in found]), tail)


def _tail(request: web.Request, snapshot: Snapshot) -> bytes:
    """Return what comes after the flags: the flag set's metadata, and where changes are told."""
    streams = [
        {
            "type": "sse",
            "url": request.app[TICKETS].url(request, request[CALLER], snapshot.environment.name),
            "inactivityDelaySec": INACTIVITY_SECONDS,
        }
    ]
    rest = {"metadata": snapshot.environment.metadata, "eventStreams": streams}
    return b"," + msgspec.json.encode(rest)[1:]


def _etag(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4))
        digest.update(part)
    return f'"{digest.hexdigest()}"'
