"""The handlers of plans: read one at any time, and control it."""

import time
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from app.access.guard import ACCESS_LOG, CALLER, origin
from app.configuration.changes.administration import record_emergencies
from app.configuration.changes.plan_control import PlanCommand, control_plan
from app.configuration.changes.write_options import read_options
from app.configuration.entries.models import WriteResult
from app.configuration.entries.service import result_of
from app.configuration.snapshots.reading import read_snapshot, snapshot_headers, wait_until_served
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Connection
from app.errors import NotFound
from app.evaluation.plans.compiling import definition_at
from app.evaluation.plans.periods import Period, periods
from app.evaluation.plans.status import status_of
from app.flags.explanation import unknown_flag
from app.flags.plan_views import PlanChange, PlanControl, PlanView
from app.http import conditions, wire
from app.http.headers import entity_tag, revision_header
from app.http.writes import run_write


async def get_plan(request: web.Request) -> web.Response:
    """Read the plan of a flag.

    Give `at` to see where the plan is at another time, and the flag's definition then.
    """
    query = wire.read_query(request, {"at", "min_revision"})
    at = wire.moment(query)
    snapshot = await read_snapshot(request, query)
    now = int(at.timestamp() if isinstance(at, datetime) else time.time())
    plan = plan_view(snapshot, request.match_info["key"], now)
    return wire.answer(plan, headers=snapshot_headers(request, snapshot))


def plan_view(snapshot: Snapshot, key: str, now: int) -> PlanView:
    """Return the plan of a flag at a time. Raises NotFound."""
    entry = snapshot.entries.get(key)
    if entry is None or entry.kind != "flag":
        raise unknown_flag()
    configuration = entry.configuration
    definition = configuration.value if isinstance(configuration.value, dict) else {}
    status = status_of(definition, now)
    if status is None:
        raise NotFound("plan_unknown", "The flag has no plan.")
    return PlanView(
        name=status.plan.name,
        at=_time(now),
        progress=status.progress.value,
        step=status.step,
        steps=len(status.plan.steps),
        variant=None if status.rollout is None else status.rollout.variant,
        percent=None if status.rollout is None else float(status.rollout.percent),
        next_step=status.next_step,
        next_at=None if status.next_at is None else _time(status.next_at),
        changes_at=None if status.changes_at is None else _time(status.changes_at),
        changes=[_change(period) for period in periods(definition, status.plan)[1:]],
        definition=dict(definition_at(definition, now)),
        version=configuration.version,
    )


async def control_flag_plan(request: web.Request) -> web.Response:
    """Pause, continue, skip, return or finish a plan.

    `If-Match` has the version of the flag. `pause` stops the plan, and `continue` goes on with a
    plan that is paused or held. `skip` begins a later step now. `return` removes the plan: the flag
    is as before it. `finish` removes the plan, and stores what is in force.
    """
    options = read_options(request)
    expected = conditions.read_expected_version(request, may_create=False)
    body = await wire.read_body(request, PlanControl)
    environment, key = request.match_info["environment"], request.match_info["key"]
    action, authority = PlanCommand(request.match_info["action"]), options.authority(body.message)
    log, caller, actor = request.app[ACCESS_LOG], origin(request), request[CALLER].actor

    async def work(connection: Connection) -> WriteResult:
        change_set = await control_plan(
            *(connection, environment, key, action),
            step=body.step,
            expected=expected,
            actor=actor,
            message=body.message,
            authority=authority,
        )
        written = result_of(change_set)
        await record_emergencies(connection, log, [written], caller)
        return written

    written = await run_write(
        request, work, actor=actor, answer_type=WriteResult, dry_run=options.dry_run
    )
    if options.dry_run:
        return wire.answer(msgspec.structs.replace(written, dry_run=True))
    await wait_until_served(request, written.environment, written.revision)
    headers = revision_header(written.epoch, written.revision)
    if written.version is not None:
        headers["ETag"] = entity_tag(written.version, written.epoch)
    return wire.answer(written, headers=headers)


def _change(period: Period) -> PlanChange:
    rollout = period.rollout
    return PlanChange(
        at=_time(period.begin),
        step=period.step,
        begins_step=period.begins_step,
        state=period.state,
        default_variant=period.default,
        variant=None if rollout is None else rollout.variant,
        percent=None if rollout is None else float(rollout.percent),
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
