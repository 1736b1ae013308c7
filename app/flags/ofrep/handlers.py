"""The handlers of OFREP: evaluate one flag, or all flags."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Generator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.refusals import key_foreign
from app.configuration.snapshots.reading import snapshot_head_lines
from app.configuration.snapshots.snapshot import Snapshot
from app.evaluation.body_block import BodyBlock
from app.flags.handlers import USAGE
from app.flags.ofrep.answers import EvaluationError, respond
from app.flags.ofrep.cors import CORS
from app.flags.ofrep.requests import decode_context, peek_snapshot, read_raw, read_snapshot
from app.flags.ofrep.tickets import TICKETS
from app.http import conditions
from app.http.encoded import EncodedResponse

INACTIVITY_SECONDS = 120
_HOLD_SECONDS = 0.001
# So that large environments waste at most a hundredth of their time.
_SKIPS = 100
# By environment: the requests that still go the ordinary way.
SKIPS: web.AppKey[Counter[str]] = web.AppKey("skips", Counter)


async def evaluate_flag(request: web.Request) -> web.Response:
    """Evaluate one flag for a context.

    With a path that begins with `/ofrep`, the token must be for exactly one environment.
    """
    return _one(request, await read_snapshot(request), await read_raw(request))


def hot_flag(request: web.Request, body: bytes) -> EncodedResponse | None:
    """Answer an evaluation without parameters as `evaluate_flag` does."""
    if "?" in request.raw_path:
        return None
    snapshot = peek_snapshot(request)
    return None if snapshot is None else _one(request, snapshot, body)


def _one(request: web.Request, snapshot: Snapshot, raw: bytes) -> EncodedResponse:
    context = decode_context(raw)

    key = request.match_info["key"]
    flag = snapshot.rules.flags.get(key)
    if flag is None:
        # The guard has checked the key only if the path names the environment.
        if key not in snapshot.limits:
            raise key_foreign(Scope.EVALUATE, key, snapshot.limits)
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
    steps = _all(request, await read_snapshot(request), await read_raw(request))
    while (response := _advance(steps)) is None:  # noqa: ASYNC110 - other tasks run meanwhile
        await asyncio.sleep(0)
    return response


def hot_flags(request: web.Request, body: bytes) -> EncodedResponse | None:
    """Answer an evaluation without parameters as `evaluate_flags` does, if it takes at most 1 ms.

    After a longer one, the next requests of its environment go the ordinary way.
    """
    if "?" in request.raw_path:
        return None
    snapshot = peek_snapshot(request)
    if snapshot is None:
        return None
    skips, environment = request.app[SKIPS], snapshot.environment.name
    if skips[environment]:
        skips[environment] -= 1
        return None
    response = _advance(_all(request, snapshot, body))
    if response is None:
        skips[environment] = _SKIPS
    return response


# Yields between parts of an evaluation, and returns the answer.
_Steps = Generator[None, None, EncodedResponse]


def _advance(steps: _Steps) -> EncodedResponse | None:
    """Evaluate for a millisecond. Return the answer, or None if there is more to evaluate.

    Processor time counts: a thread that had to wait has not evaluated more. To read it takes ten
    times as long as to read the clock, which cannot show less.
    """
    started, spent_before = time.perf_counter(), time.thread_time()
    try:
        next(steps)
        while (
            time.perf_counter() - started < _HOLD_SECONDS
            or time.thread_time() - spent_before < _HOLD_SECONDS
        ):
            next(steps)
    except StopIteration as stop:
        response: EncodedResponse = stop.value
        return response
    return None


def _all(request: web.Request, snapshot: Snapshot, raw: bytes) -> _Steps:
    app = request.app
    caller = request[CALLER]
    url = app[TICKETS].url(request, caller, snapshot.environment.name)
    metadata = msgspec.json.encode(snapshot.environment.metadata)
    tail = _tail(metadata, url)
    # The tag has the token, but not the URL of its stream: a relay sends the same tag as its
    # upstream, so that a client can move between them.
    tagged = b"%b\n%b" % (metadata, (caller.token_id or "").encode())

    body: list[bytes] = []
    now, transitions = int(time.time()), snapshot.rules.transitions
    if transitions.is_known:
        turn = transitions.latest(now)
        etag = _etag(b"%b%d:%d:%b" % (snapshot.rules_state, turn, len(raw), raw), tagged)
        # The tag covers the body. A client that sends it back has sent this valid body before.
        context = {} if conditions.names_tag(request, etag) else decode_context(raw)
    else:
        # The answer may change at any second, so the tag is a hash of the answer.
        context = decode_context(raw)
        body = yield from _evaluated(request, snapshot, context, now, tail)
        etag = _etag(memoryview(b"".join(body))[: -len(tail)], tagged)
    head = snapshot_head_lines(request, snapshot) + b"ETag: %b\r\n" % etag.encode()
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", app[CORS].head(request) + head, status=304)
    body = body or (yield from _evaluated(request, snapshot, context, now, tail))
    return respond(request, body, head)


def _evaluated(
    request: web.Request, snapshot: Snapshot, context: Mapping[str, Any], now: int, tail: bytes
) -> Generator[None, None, list[bytes]]:
    """Return the parts of a bulk answer. Count the outcomes when all are known."""
    parts = [b'{"flags":[']
    portions: list[BodyBlock | list[bytes]] = []
    for portion in snapshot.rules.bulk.evaluate(context, now):
        if isinstance(portion, BodyBlock):
            parts += (portion.joined, b",")
            portions.append(portion)
            continue
        if portion:
            parts += (b",".join(portion), b",")
            portions.append(portion)
        yield
    usage, environment = request.app[USAGE], snapshot.environment.name
    for portion in portions:
        if isinstance(portion, BodyBlock):
            usage.count_block(environment, portion)
        else:
            usage.count_all(environment, portion)
    if portions:
        parts.pop()
    parts.append(b"]" + tail)
    return parts


@lru_cache(maxsize=1_024)
def _tail(metadata: bytes, stream_url: str) -> bytes:
    """Return the end of a bulk answer: metadata of the flag set, and the event stream."""
    stream = {"type": "sse", "url": stream_url, "inactivityDelaySec": INACTIVITY_SECONDS}
    rest = {"metadata": msgspec.Raw(metadata), "eventStreams": [stream]}
    return b"," + msgspec.json.encode(rest)[1:]


def _etag(text: bytes | memoryview, end: bytes) -> str:
    digest = hashlib.blake2b(text, digest_size=16)
    digest.update(end)
    return f'"{digest.hexdigest()}"'
