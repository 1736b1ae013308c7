"""Group commit: writes of one environment that wait at the same moment share a transaction.

Writers of an environment wait for its lock, each for the commit of the one before. So while a
transaction of this process runs, later writes to its environment are collected, and the next
transaction makes all of them: it locks the environment, reads all entries, checks the writes one
after the other in memory, and writes all change sets in one statement. Each write has its own
revision, version check, hash, error and answer. A write that is refused leaves the others alone.

Only writes that need no other check within the transaction are grouped, see `is_groupable`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from app.configuration.changes.authority import Authority
from app.configuration.changes.flag_checks import check_compiling, has_guards
from app.configuration.changes.foreign_entries import without_foreign
from app.configuration.changes.models import ChangeSet, Content, Kind, Operation
from app.configuration.changes.row_writer import write
from app.configuration.changes.rows import lock_entries
from app.configuration.changes.service import check_keys, prepare
from app.database import Connection, Database
from app.errors import AppError, Unavailable
from app.evaluation.needs import needs_of
from app.http.keys import CURRENT_SPAN

_WRITES_MAX = 32
# Larger values take a transaction of their own, so that they delay no others.
_VALUE_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class _Write:
    operation: Operation
    actor: str
    message: str
    authority: Authority
    span: Any = field(default_factory=CURRENT_SPAN.get)
    result: asyncio.Future[ChangeSet] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def refuse(self, error: Exception) -> None:
        """Raise the error for the caller, unless it has stopped waiting."""
        if not self.result.done():
            self.result.set_exception(error)


class GroupCommit:
    """The waiting writes of one process."""

    def __init__(self, database: Database, *, wait_seconds: float) -> None:
        self._database = database
        self._wait_seconds = wait_seconds
        # By environment, in their order.
        self.waiting: defaultdict[str, list[_Write]] = defaultdict(list)
        # One per environment, until no write waits.
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def write(
        self,
        environment: str,
        operation: Operation,
        *,
        actor: str,
        message: str,
        authority: Authority,
    ) -> ChangeSet:
        """Write a groupable operation, and return its change set after the commit.

        Raises as `service.apply` and `Database.transact`, and Unavailable if the write has waited
        too long.
        """
        check_keys([operation])
        member = _Write(operation=operation, actor=actor, message=message, authority=authority)
        self.waiting[environment].append(member)
        if environment not in self.tasks:
            # The task serves other requests too: it gets no variables of this one.
            self.tasks[environment] = asyncio.get_running_loop().create_task(
                self._run(environment), context=Context()
            )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._wait_seconds, self._give_up, environment, member)
        try:
            return await member.result
        finally:
            timer.cancel()

    def _give_up(self, environment: str, member: _Write) -> None:
        """Refuse a write whose transaction has not begun."""
        if member in (queue := self.waiting.get(environment, [])):
            queue.remove(member)
            member.refuse(
                Unavailable(
                    "environment_busy", "The environment is busy with other changes. Try again."
                )
            )

    async def _run(self, environment: str) -> None:
        group: Sequence[_Write] = []
        try:
            while group := self._next_group(environment):
                await self._commit(environment, group)
        finally:
            # The task was cancelled if a write still waits, because the process stops.
            del self.tasks[environment]
            for member in (*group, *self.waiting.pop(environment)):
                member.result.cancel()

    def _next_group(self, environment: str) -> Sequence[_Write]:
        """Take the first writes, with at most one for each key."""
        group: dict[str, _Write] = {}
        rest: list[_Write] = []
        for member in self.waiting[environment]:
            if member.result.done():
                continue  # Its caller has stopped waiting.
            if len(group) < _WRITES_MAX and member.operation.key not in group:
                group[member.operation.key] = member
            else:
                rest.append(member)
        self.waiting[environment] = rest
        return list(group.values())

    async def _commit(self, environment: str, group: Sequence[_Write]) -> None:
        """Write a group in one transaction, and give each caller its answer.

        The statements belong to the span of the first write that has one.
        """
        CURRENT_SPAN.set(next((member.span for member in group if member.span), None))
        try:
            outcomes = await self._database.transact(partial(_write_all, environment, group))
        except Unavailable as error:
            for member in group:
                member.refuse(Unavailable(error.code, error.message))
            return
        except Exception as error:  # noqa: BLE001 - raised for the callers
            if len(group) == 1:
                group[0].refuse(error)
                return
            # All of the group is rolled back, and one write may be the cause.
            for member in group:
                await self._commit(environment, [member])
            return
        for member, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, AppError):
                member.refuse(outcome)
            elif not member.result.done():
                member.result.set_result(outcome)


async def _write_all(
    environment: str, group: Sequence[_Write], connection: Connection
) -> list[ChangeSet | AppError]:
    """Write the change sets in the order of the group. Return each, or why it was refused."""
    locked = await lock_entries(connection, environment, [item.operation.key for item in group])
    outcomes: list[ChangeSet | AppError] = []
    change_sets: list[ChangeSet] = []
    head = locked.environment
    for item in group:
        try:
            change_set = await prepare(
                connection,
                replace(locked, environment=head),
                [item.operation],
                actor=item.actor,
                message=item.message,
                authority=item.authority,
            )
            await check_compiling(connection, change_set, exempt=())
        except AppError as error:
            refusal = without_foreign(error, item.authority.visible(environment))
            # The traceback refers to this frame: break the cycle.
            outcomes.append(refusal.with_traceback(None))
            continue
        head = msgspec.structs.replace(
            head, revision=change_set.revision, hash=change_set.hash.hex()
        )
        change_sets.append(change_set)
        outcomes.append(change_set)
    if change_sets:
        await write(connection, locked.environment, change_sets)
    return outcomes


# None when the setting GROUP_COMMIT is false.
GROUP_COMMIT: web.AppKey[GroupCommit | None] = web.AppKey("group_commit")


def is_groupable(operation: Operation) -> bool:
    """Return whether a write can share a transaction.

    It puts one small setting, or one flag without guards and needs: they are checked against the
    stored state of other flags.
    """
    content = operation.content
    return (
        content is not None
        and not operation.is_lenient
        and (
            content.kind is Kind.SETTING
            or (
                content.kind is Kind.FLAG
                and not has_guards(content)
                and not any(needs_of(content.value))
            )
        )
        and _size(content) <= _VALUE_BYTES_MAX
    )


def _size(content: Content) -> int:
    return len(msgspec.json.encode((content.value, content.schema)))
