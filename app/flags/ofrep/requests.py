"""What an OFREP request asks: of which environment, for which context, from which revision on."""

import math
import re
from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT
from app.configuration.snapshots.reading import FOLLOWER, UNCONFIRMED
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import Malformed
from app.flags.ofrep.answers import EvaluationError
from app.http.bodies import receive_read_body
from app.http.decoder import CONTEXT_BYTES_MAX


class _Body(msgspec.Struct, frozen=True):
    """Members beside the context are not ours to refuse."""

    context: dict[str, Any] = {}


# What events have as their etag, with or without the quotes of an entity tag.
_PLACE = re.compile(r'"?(?P<epoch>[0-9a-f-]{36}):(?P<revision>[0-9]{1,18})"?')


def _double(text: str) -> float:
    """Return the number. Raises ValueError beyond the range of a double.

    msgspec itself takes 7 microseconds for a number near the ends of that range, and an array of
    them would hold the event loop for a quarter of a second.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


_decoder = msgspec.json.Decoder(_Body, float_hook=_double)


async def read_raw(request: web.Request) -> bytes:
    """Return the body, which may be none. Raises as `receive_read_body` does."""
    return await receive_read_body(request, CONTEXT_BYTES_MAX) if request.body_exists else b""


def decode_context(raw: bytes) -> dict[str, Any]:
    """Return the context of a body. Raises EvaluationError.

    No body and no context are an empty context, as official clients send them.
    """
    if not raw:
        return {}
    try:
        context = _decoder.decode(raw).context
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise EvaluationError("PARSE_ERROR", "The body must be JSON.") from None
    if not isinstance(context.get("targetingKey", ""), str):
        raise EvaluationError("INVALID_CONTEXT", "context.targetingKey: must be a string.")
    return context


def _misshapen(found: str) -> EvaluationError:
    """Return the failure for what the decoder found, whose place is all that is looked at."""
    if found.endswith(" at `$.context`"):
        return EvaluationError("INVALID_CONTEXT", "context: must be an object.")
    if " at `$.context" in found:
        return EvaluationError("PARSE_ERROR", "context: has a number beyond the range of a double.")
    return EvaluationError("PARSE_ERROR", "The body must be an object.")


async def read_snapshot(request: web.Request) -> Snapshot:
    """Return the snapshot to evaluate with: not older than what the client was told of.

    Raises Malformed, NotFound, or Unavailable when this instance does not reach the revision in
    time. An epoch that is unknown here is answered from what there is.
    """
    follower = request.app[FOLLOWER]
    environment = request.match_info.get("environment") or _only_environment(request)
    snapshot = follower.get(environment)
    if "?" not in request.raw_path:
        return snapshot
    # `flagConfigLastModified` says the same less exactly, and other parameters are not refused.
    told = _PLACE.fullmatch(request.query.get("flagConfigEtag", ""))
    if told is None:
        return snapshot
    if told["epoch"] != snapshot.epoch:
        # It may be a later epoch, which another instance was the first to read.
        if not await follower.try_refresh():
            request[UNCONFIRMED] = True
        return follower.get(environment)
    return await follower.at_least(environment, int(told["revision"]))


def _only_environment(request: web.Request) -> str:
    environments = request[CALLER].grant.environments
    if len(environments) != 1 or EVERY_ENVIRONMENT in environments:
        raise Malformed(
            "environment_ambiguous",
            "The token is for several environments; ask under /v1/environments/ENVIRONMENT.",
        )
    return next(iter(environments))
