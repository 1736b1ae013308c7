"""The handlers of OFREP: evaluate one flag, or all flags."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.configuration.snapshots.reading import snapshot_head_lines
from app.configuration.snapshots.snapshot import Snapshot
from app.evaluation.bulk import BodyBlock
from app.flags.handlers import USAGE
from app.flags.ofrep.answers import EvaluationError, respond
from app.flags.ofrep.cors import CORS
from app.flags.ofrep.requests import decode_context, read_raw, read_snapshot
from app.flags.ofrep.tickets import TICKETS
from app.http import conditions
from app.http.encoded import EncodedResponse

INACTIVITY_SECONDS = 120
_HOLD_SECONDS = 0.001


async def evaluate_flag(request: web.Request) -> web.Response:
    """Evaluate one flag for a context.

    With a path that begins with `/ofrep`, the token must be for exactly one environment.
    """
    snapshot = await read_snapshot(request)
    context = decode_context(await read_raw(request))

    flag = snapshot.rules.flags.get(request.match_info["key"])
    if flag is None:
        raise EvaluationError("FLAG_NOT_FOUND", "There is no such flag.", status=404)
    evaluation = flag.evaluate(context, int(time.time()))

    request.app[USAGE].count(snapshot.environment.name, evaluation.body)
    status = 200 if evaluation.outcome.error_code is None else 400
    return respond(request, evaluation.body, snapshot_head_lines(request, snapshot), status=status)


async def evaluate_flags(request: web.Request) -> web.Response:
    """Evaluate every flag for a context.

    With a path that begins with `/ofrep`, the token must be for exactly one environment. Send the
    ETag as `If-None-Match`: the answer is 304 while every outcome is the same.
    """
    snapshot = await read_snapshot(request)
    raw = await read_raw(request)
    app = request.app
    url = app[TICKETS].url(request, request[CALLER], snapshot.environment.name)
    tail = _tail(msgspec.json.encode(snapshot.environment.metadata), url)

    if snapshot.rules.uses_time:
        # The answer may change without a write, so the tag is a hash of the answer.
        context = decode_context(raw)
        body = await _evaluated(request, snapshot, context, tail)
        etag = _etag(body)
    else:
        body = b""
        etag = _etag(b"%b%d:%b%b" % (snapshot.rules_state, len(raw), raw, tail))
        # The tag covers the body. A client that sends it back has sent this valid body before.
        context = {} if conditions.names_tag(request, etag) else decode_context(raw)
    head = snapshot_head_lines(request, snapshot) + b"ETag: %b\r\n" % etag.encode()
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", app[CORS].head(request) + head, status=304)
    body = body or await _evaluated(request, snapshot, context, tail)
    return respond(request, body, head)


async def _evaluated(
    request: web.Request, snapshot: Snapshot, context: Mapping[str, Any], tail: bytes
) -> bytes:
    """Return the body of a bulk answer. Yield to the event loop every millisecond."""
    usage, environment = request.app[USAGE], snapshot.environment.name
    bodies: list[bytes] = []
    held_since = time.perf_counter()
    for chunk in snapshot.rules.bulk.evaluate(context, int(time.time())):
        if isinstance(chunk, BodyBlock):
            usage.count_block(environment, chunk)
            bodies.append(chunk.joined)
        else:
            usage.count_all(environment, chunk)
            bodies += chunk
        if time.perf_counter() - held_since > _HOLD_SECONDS:
            await asyncio.sleep(0)
            held_since = time.perf_counter()
    if not bodies:
        return b'{"flags":[]%b' % tail
    # A single join: for 10,000 flags, each further copy costs as much as a fifth of the evaluation.
    bodies[0] = b'{"flags":[%b' % bodies[0]
    bodies[-1] = b"%b]%b" % (bodies[-1], tail)
    return b",".join(bodies)


@lru_cache(maxsize=1_024)
def _tail(metadata: bytes, stream_url: str) -> bytes:
    """Return the end of a bulk answer: metadata of the flag set, and the event stream."""
    stream = {"type": "sse", "url": stream_url, "inactivityDelaySec": INACTIVITY_SECONDS}
    rest = {"metadata": msgspec.Raw(metadata), "eventStreams": [stream]}
    return b"," + msgspec.json.encode(rest)[1:]


def _etag(text: bytes) -> str:
    return f'"{hashlib.blake2b(text, digest_size=16).hexdigest()}"'
