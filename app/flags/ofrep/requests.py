"""Reading of OFREP requests: environment, context, and minimum revision."""

import math
import re
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.permissions import Keys
from app.configuration.snapshots.reading import FOLLOWER, UNCONFIRMED
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import Malformed
from app.flags.ofrep.answers import EvaluationError
from app.http.bodies import receive_read_body
from app.http.decoder import CONTEXT_BYTES_MAX


class _Body(msgspec.Struct, frozen=True):
    """Other members are ignored, as OFREP requires."""

    context: dict[str, Any] = {}


# The etag of an event, with or without the quotes of an entity tag.
_EVENT_ETAG = re.compile(r'"?(?P<epoch>[0-9a-f-]{36}):(?P<revision>[0-9]{1,18})"?')


def _double(text: str) -> float:
    """Return the number. Raises ValueError beyond the range of a double.

    msgspec takes 7 µs for a number near the limits of that range. An array of them would block the
    event loop for 250 ms.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


_decoder = msgspec.json.Decoder(_Body, float_hook=_double)


async def read_raw(request: web.Request) -> bytes:
    """Return the body, empty if there is none. Raises as `receive_read_body` does."""
    return await receive_read_body(request, CONTEXT_BYTES_MAX) if request.body_exists else b""


def decode_context(raw: bytes) -> dict[str, Any]:
    """Return the context of a body. Raises EvaluationError.

    Official clients send no body or no context for an empty context.
    """
    if not raw:
        return {}
    try:
        context = _decoder.decode(raw).context
    except msgspec.ValidationError as error:
        raise _type_error(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise EvaluationError("PARSE_ERROR", "The body must be JSON.") from None
    if not isinstance(context.get("targetingKey", ""), str):
        raise EvaluationError("INVALID_CONTEXT", "context.targetingKey: must be a string.")
    return context


def _type_error(message: str) -> EvaluationError:
    """Return the failure for a message of the decoder, by the path that it names."""
    if message.endswith(" at `$.context`"):
        return EvaluationError("INVALID_CONTEXT", "context: must be an object.")
    if " at `$.context" in message:
        return EvaluationError("PARSE_ERROR", "context: has a number beyond the range of a double.")
    return EvaluationError("PARSE_ERROR", "The body must be an object.")


async def read_snapshot(request: web.Request) -> Snapshot:
    """Return the snapshot to evaluate with, at least as new as the event that the client names.

    Raises Malformed, NotFound, or Unavailable when this instance does not reach the revision in
    time. An unknown epoch is answered from the current snapshot.
    """
    snapshot = await _awaited_snapshot(request)
    if not request[CALLER].rights.have_prefixes:
        return snapshot
    return await request.app[FOLLOWER].part(snapshot, _keys(request, snapshot))


async def _awaited_snapshot(request: web.Request) -> Snapshot:
    follower = request.app[FOLLOWER]
    snapshot = await follower.read(environment_of(request))
    if "?" not in request.raw_path:
        return snapshot
    # `flagConfigLastModified` is less exact than the etag. Other parameters are ignored.
    event = _EVENT_ETAG.fullmatch(request.query.get("flagConfigEtag", ""))
    if event is None:
        return snapshot
    if event["epoch"] != snapshot.epoch:
        # Another instance may have read a new epoch first.
        if not await follower.try_refresh():
            request[UNCONFIRMED] = True
        return await follower.read(snapshot.environment.name)
    return await follower.at_least(snapshot.environment.name, int(event["revision"]))


def peek_snapshot(request: web.Request) -> Snapshot | None:
    """Return the snapshot to evaluate with, None if it must be made."""
    snapshot = request.app[FOLLOWER].peek(environment_of(request))
    if snapshot is None or not request[CALLER].rights.have_prefixes:
        return snapshot
    keys = _keys(request, snapshot)
    return snapshot.limited_to(keys) if snapshot.has_part(keys) else None


def _keys(request: web.Request, snapshot: Snapshot) -> Keys:
    """Return the keys that the caller may evaluate."""
    return request[CALLER].rights.keys(Scope.EVALUATE, snapshot.environment.name)


def environment_of(request: web.Request) -> str:
    """Return the environment in the path, or the token's only one. Raises Malformed."""
    return request.match_info.get("environment") or _only_environment(request)


def _only_environment(request: web.Request) -> str:
    environments = request[CALLER].rights.environments(Scope.EVALUATE)
    if len(environments) != 1 or EVERY_ENVIRONMENT in environments:
        raise Malformed(
            "environment_ambiguous",
            "The token is for several environments: use /v1/environments/ENVIRONMENT/ofrep.",
        )
    return next(iter(environments))
