"""Write the begin of each step of a plan into the history.

Flags change without it: a plan is data, which every instance evaluates. One instance writes the
change set, because the transaction locks the environment. Steps that begin while the database is
away are written when it is back.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from app.components import Component
from app.configuration.changes import service
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import ChangeKind, Content
from app.configuration.changes.plan_steps import planned
from app.configuration.changes.rows import lock_entries
from app.configuration.snapshots.own_changes import OwnChange
from app.database import Commit, Connection, Database, sql
from app.errors import NotFound, Unavailable
from app.evaluation.plans.instants import text_of
from app.evaluation.plans.periods import step_begins
from app.evaluation.plans.plan import PLAN, read_plan
from app.tasks import jittered, wait_at_most

ACTOR = "system:plans"
# Another instance writes the steps of a plan that it has stored. This finds those of an instance
# that stopped before.
IDLE_SECONDS = 60.0
RETRY_SECONDS = 5.0
# Change sets of one transaction, so that other writers wait for at most about 100 ms.
_STEPS_AT_ONCE = 20
_NEXT_STEPS = 100
# A later entry says when the step began.
_LATE_SECONDS = 60


class StepRecorder(Component):
    """Waits for the next step of any plan, over all environments."""

    name = "plan_steps"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        database.commit_listeners.append(self._committed)

    async def run(self) -> None:
        while True:
            self._changed.clear()
            try:
                wait = await self.run_once()
            except Unavailable:
                wait = RETRY_SECONDS
            await wait_at_most(wait, self._changed)

    async def run_once(self) -> float:
        """Record the steps that have begun. Return the seconds until the next one begins."""
        async with self._database.connection() as connection:
            rows = [
                row async for row in sql.list_next_plan_steps(connection, page_size=_NEXT_STEPS)
            ]
        begun = dict.fromkeys(row["environment"] for row in rows if row["seconds_left"] <= 0)
        for environment in begun:
            await self._database.transact(partial(record_steps, environment))
        if begun:
            return 0.0
        idle = jittered(IDLE_SECONDS)
        # A wait may end early.
        return min(idle, rows[0]["seconds_left"] + 0.01) if rows else idle

    def _committed(self, commits: Sequence[Commit]) -> None:
        if any(not isinstance(commit, OwnChange) or _has_plan(commit) for commit in commits):
            self._changed.set()


def _has_plan(change: OwnChange) -> bool:
    return any(
        entry is not None and isinstance(entry.value, dict) and PLAN in entry.value
        for _, entry in change.touched
    )


async def record_steps(environment: str, connection: Connection) -> None:
    """Write a change set for each of the first steps that have begun."""
    try:
        await lock_entries(connection, environment, ())
    except NotFound:
        # An earlier release, which knows no plans, has deleted the environment.
        await sql.delete_all_plan_steps(connection, environment=environment)
        return
    rows = [
        row
        async for row in sql.list_begun_plan_steps(
            connection, environment=environment, page_size=_STEPS_AT_ONCE
        )
    ]
    locked = await lock_entries(connection, environment, sorted({row["key"] for row in rows}))
    now = int(locked.created_at.timestamp())
    for row in rows:
        key, step, begin = row["key"], row["step"], row["begins_at"]
        message = _message(locked.entries[key].content, key, step, begin, now)
        if message is None:
            # An earlier release, which knows no plans, has changed the flag.
            await sql.delete_plan_steps(connection, environment=environment, key=key)
            continue
        change_set = await service.apply(
            connection,
            environment,
            (),
            actor=ACTOR,
            kind=ChangeKind.SCHEDULED,
            message=message,
            authority=OPERATOR_AUTHORITY,
        )
        await sql.record_plan_step(
            connection,
            environment=environment,
            key=key,
            step=step,
            revision=change_set.revision,
        )


def _message(content: Content | None, key: str, step: int, begin: int, now: int) -> str | None:
    """Return the message for a step, None if the flag has no such step any more."""
    definition = planned(content)
    if definition is None or step_begins(definition).get(step) != begin:
        return None
    plan = read_plan(definition)
    if plan is None:
        return None
    when = f", at {text_of(begin)}" if now - begin > _LATE_SECONDS else ""
    return f"{plan.name}: step {step} of {len(plan.steps)} began ({key}{when})"
