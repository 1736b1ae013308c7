"""The handlers of flag usage, explanations and previews."""

import time
from datetime import UTC, datetime

from aiohttp import web

from app.access.guard import readable_keys
from app.access.models import Scope
from app.access.refusals import key_foreign
from app.configuration.snapshots.reading import read_snapshot, snapshot_headers
from app.errors import invalid
from app.flags import explanation as service
from app.flags.preview import Previews
from app.flags.preview_views import PreviewRequest
from app.flags.usage import UsageCounts
from app.flags.usage_report import read_usage
from app.flags.views import EvaluationQuery, FlagUsage
from app.http import wire
from app.http.decoder import CONTEXT_BYTES_MAX
from app.http.keys import DATABASE

USAGE: web.AppKey[UsageCounts] = web.AppKey("usage", UsageCounts)
PREVIEWS: web.AppKey[Previews] = web.AppKey("previews", Previews)
# A preview waits up to 5 s for its turn, and then takes up to 3 s.
PREVIEW_SECONDS = 15.0


async def list_flag_usage(request: web.Request) -> web.Response:
    """List how often each flag was evaluated.

    Remarks name flags that may no longer be needed.
    """
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        items = await read_usage(
            connection,
            request.match_info["environment"],
            datetime.now(UTC),
            keys=readable_keys(request),
        )

    return wire.answer(FlagUsage(items=items))


async def explain_flag(request: web.Request) -> web.Response:
    """Evaluate a flag and explain the result.

    Give `revision` or `at` in the body to evaluate a past state.
    """
    query = wire.read_query(request, {"min_revision"})
    evaluation = await wire.read_body(request, EvaluationQuery, bytes_max=CONTEXT_BYTES_MAX)
    if evaluation.revision is not None and evaluation.at is not None:
        raise invalid("at", "must not be combined with revision")
    name, key = request.match_info["environment"], request.match_info["key"]
    moment = evaluation.revision if evaluation.at is None else evaluation.at

    if moment is None:
        snapshot = await read_snapshot(request, query)
        source = service.source_now(snapshot, key)
        explanation = service.explained(key, source, evaluation, snapshot.limits)
        return wire.answer(explanation, headers=snapshot_headers(request, snapshot))

    async with request.app[DATABASE].connection() as connection:
        source = await service.source_at(connection, name, key, moment)
    return wire.answer(service.explained(key, source, evaluation, readable_keys(request)))


async def preview_changes(request: web.Request) -> web.Response:
    """Preview changes without storing them.

    For each affected flag: the outcome of each context before and after, the number of sampled
    keys that change, and the results of its guards. A draft that a write would refuse gets the same
    errors in `refusals`.
    """
    query = wire.read_query(request, {"min_revision"})
    body = await wire.read_body(request, PreviewRequest, answer_seconds=PREVIEW_SECONDS)
    snapshot = await read_snapshot(request, query)
    if foreign := [key for key in body.changes if key not in snapshot.limits]:
        raise key_foreign(Scope.READ, foreign[0], snapshot.limits)
    now = time.time() if body.at is None else body.at.timestamp()
    preview = await request.app[PREVIEWS].run(snapshot, body, int(now))
    return wire.answer(preview, headers=snapshot_headers(request, snapshot))
