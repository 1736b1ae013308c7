"""What an OFREP request asks: of which environment, for which context, from which revision on."""

from typing import Any

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT
from app.errors import Malformed
from app.http.bodies import take_whole
from app.ofrep.answers import EvaluationError
from app.snapshots.reading import FOLLOWER
from app.snapshots.snapshot import Snapshot


class _Body(msgspec.Struct, frozen=True):
    """Members beside the context are not ours to refuse."""

    context: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Body)


async def read_context(request: web.Request) -> tuple[dict[str, Any], bytes]:
    """Return the context, and the body that it came in. Raises EvaluationError, TooLarge, TooSlow.

    No body and no context are an empty context, as official clients send them.
    """
    raw = await take_whole(request) if request.body_exists else b""
    if not raw:
        return {}, raw
    try:
        context = _decoder.decode(raw).context
    except msgspec.ValidationError as error:
        if "$.context" in str(error):
            raise EvaluationError("INVALID_CONTEXT", "context: must be an object.") from None
        raise EvaluationError("PARSE_ERROR", "The body must be an object.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise EvaluationError("PARSE_ERROR", "The body must be JSON.") from None
    if not isinstance(context.get("targetingKey", ""), str):
        raise EvaluationError("INVALID_CONTEXT", "context.targetingKey: must be a text.")
    return context, raw


async def read_snapshot(request: web.Request) -> Snapshot:
    """Return the snapshot to evaluate with: not older than what the client was told of.

    Raises Malformed, NotFound, or Unavailable when this instance does not get that far in time.
    """
    follower = request.app[FOLLOWER]
    environment = request.match_info.get("environment") or _only_environment(request)
    snapshot = follower.get(environment)
    if "?" not in request.raw_path:
        return snapshot
    # `flagConfigLastModified` says the same less exactly, and other parameters are not refused.
    epoch, _, revision = request.query.get("flagConfigEtag", "").strip('"').rpartition(":")
    is_ours = epoch == snapshot.epoch and revision.isascii() and revision.isdecimal()
    if is_ours and len(revision) <= 18 and int(revision) > snapshot.revision:
        return await follower.at_least(environment, int(revision))
    return snapshot


def _only_environment(request: web.Request) -> str:
    environments = request[CALLER].token.grant.environments
    if len(environments) != 1 or EVERY_ENVIRONMENT in environments:
        raise Malformed(
            "environment_ambiguous",
            "The token is for several environments; ask under /v1/environments/ENVIRONMENT.",
        )
    return next(iter(environments))
