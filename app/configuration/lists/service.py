"""Change a list in the caller's transaction: write its next state, then an entry that names it.

A change is one change set. Its entry has the count and the digest of the list, so history, ETags
and the hash chain cover the values.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.configuration.changes import service as changes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import Content, Entry, Kind, Operation
from app.configuration.changes.rows import read_entries
from app.configuration.list_data.digest import Element
from app.configuration.lists import states
from app.configuration.lists.models import ListResult
from app.configuration.lists.staging import Staged, stage
from app.configuration.lists.states import Counts, NextState, StoredList
from app.database import Connection, after_commit
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import Conflict, NotFound, Stale, Violation
from app.evaluation.lists import ListReference, list_reference
from app.http.conditions import ExpectedVersion

# An expired value leaves the list with the first change after this time.
_EXPIRED_FOR = timedelta(days=1)
# An upload that differs by at most this share is stored as a change of the list.
_CHANGED_SHARE = 4


class UploadMode(StrEnum):
    """Whether an upload is the whole list, or values to add to it or to remove from it."""

    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class ListTarget:
    """The key to change. `description` None leaves that of the entry."""

    environment: str
    key: str
    expected: ExpectedVersion
    actor: str
    message: str = ""
    description: str | None = None
    authority: Authority


@dataclass(frozen=True, kw_only=True)
class Current:
    """The environment, and the entry with the list that it names.

    `staged_by` is the author of a refused write, whose proposal will name the next state.
    """

    head: Environment
    entry: Entry
    reference: ListReference | None
    staged_by: str | None = None


@dataclass(kw_only=True)
class Written:
    """The list after a change, and what the change did."""

    reference: ListReference
    counts: Counts = field(default_factory=Counts)
    repeated: int = 0


async def read_current(connection: Connection, target: ListTarget, *, may_create: bool) -> Current:
    """Return the list of a key. Raises NotFound, Stale, and Conflict for another kind of entry."""
    head = await environments.get(connection, target.environment)
    entry = (await read_entries(connection, target.environment, [target.key]))[target.key]
    content = entry.content
    if content is None and not may_create:
        raise NotFound("configuration_unknown", "There is no such list.")
    if not target.expected.is_met(entry.version, head.epoch):
        rule = f"is at version {entry.version}" if entry.version else "does not exist"
        raise Stale(
            f"{target.key} {rule}",
            version=entry.version,
            epoch=head.epoch,
            violations=[Violation(target.key, rule)],
        )
    reference = list_reference(content.value) if content is not None else None
    if content is not None and (content.kind is not Kind.SEGMENT or reference is None):
        kind = "a segment with a rule" if content.kind is Kind.SEGMENT else f"a {content.kind}"
        raise Conflict(
            "kind_fixed",
            f"The entry is {kind}. Delete it before you store a list under its key.",
            [Violation("key", "must name a list")],
        )
    return Current(head=head, entry=entry, reference=reference)


async def begin(connection: Connection, target: ListTarget, mode: UploadMode) -> Staged:
    """Create the store of an upload. Raises as `read_current`."""
    await read_current(connection, target, may_create=mode is not UploadMode.REMOVE)
    return await stage(connection)


async def patch(
    connection: Connection, current: Current, add: Sequence[Element], remove: Sequence[str]
) -> Written:
    """Write the state after a few values were added and removed."""

    async def change(state: NextState) -> None:
        await state.add(add)
        await state.remove(remove)

    return await _changed(connection, current, change)


async def upload(
    connection: Connection, current: Current, staged: Staged, mode: UploadMode
) -> Written:
    """Write the state that a staged upload makes: its own store, or a change of the list."""
    if mode is UploadMode.REPLACE:
        written = await _replaced(connection, current, staged)
    elif current.reference is None:
        written = await _adopted(connection, current, staged)
    else:
        written = await _changed(connection, current, _merging(connection, staged, mode))
    return replace(written, repeated=staged.repeated)


def _merging(
    connection: Connection, staged: Staged, mode: UploadMode
) -> Callable[[NextState], Awaitable[None]]:
    async def change(draft: NextState) -> None:
        async for page in states.staged_pages(connection, staged):
            if mode is UploadMode.ADD:
                await draft.add(page)
            else:
                await draft.remove([value for value, _ in page])

    return change


async def _replaced(connection: Connection, current: Current, staged: Staged) -> Written:
    if current.reference is None:
        return await _adopted(connection, current, staged)
    if current.reference == staged.total.reference:
        return Written(reference=current.reference)
    state = await states.lock_state(connection, current.reference)
    counts = Counts(added=staged.total.count, removed=state.total.count)
    if state.salt == staged.salt:
        differences = await states.count_differences(connection, state, staged)
        if (differences.added + differences.removed) * _CHANGED_SHARE <= state.total.count:
            if state.is_head:
                return await _equalized(connection, current, state, staged)
            # The counts do not tell whether another owner has the same list in another store.
            counts = differences
    return await _adopted(connection, current, staged, counts)


async def _equalized(
    connection: Connection, current: Current, state: StoredList, staged: Staged
) -> Written:
    """Make a list equal to a staged store that differs little. So its history stays short."""
    draft = NextState(connection, state)
    async for values in states.absent_pages(connection, state, staged):
        await draft.remove(values)
    async for page in states.staged_pages(connection, staged):
        await draft.add(page)
    if draft.total != staged.total:
        raise RuntimeError("the list differs from its upload")
    await draft.store(current.staged_by)
    return Written(reference=draft.total.reference, counts=draft.counts)


async def _adopted(
    connection: Connection, current: Current, staged: Staged, counts: Counts | None = None
) -> Written:
    await states.record(connection, staged.store, 0, staged.total, current.staged_by)
    after_commit(staged.adopt)
    return Written(
        reference=staged.total.reference,
        counts=counts or Counts(added=staged.total.count),
    )


async def _changed(
    connection: Connection, current: Current, change: Callable[[NextState], Awaitable[None]]
) -> Written:
    if current.reference is None:
        raise NotFound("configuration_unknown", "There is no such list.")
    state = await states.lock_state(connection, current.reference)
    if not state.is_head:
        state = await states.branch(connection, state)
    draft = NextState(connection, state)
    await change(draft)
    if not draft.is_changed:
        return Written(reference=current.reference)
    await draft.remove_expired(datetime.now(UTC) - _EXPIRED_FOR)
    await draft.store(current.staged_by)
    return Written(reference=draft.total.reference, counts=draft.counts)


async def write_entry(
    connection: Connection, target: ListTarget, current: Current, written: Written
) -> ListResult:
    """Write the entry that names the list, unless it does already. Raises as `changes.apply`."""
    entry, before = current.entry, current.entry.content
    description = target.description
    if description is None and before is not None:
        description = before.description
    version, revision, approval = entry.version, current.head.revision, None
    approval_required = False
    is_same = before is not None and description == before.description
    if current.reference != written.reference or not is_same:
        change_set = await changes.apply(
            connection,
            target.environment,
            [
                Operation(
                    key=target.key,
                    content=Content(
                        kind=Kind.SEGMENT,
                        value=written.reference.value,
                        schema=before.schema if before is not None else None,
                        description=description,
                    ),
                    expected=ExpectedVersion(version=entry.version),
                    has_list_values=True,
                )
            ],
            actor=target.actor,
            message=target.message,
            authority=target.authority,
        )
        approval, approval_required = change_set.approval, change_set.approval_required
        version, revision = change_set.changes[0].version, change_set.revision
    return ListResult(
        environment=target.environment,
        key=target.key,
        version=version or 0,
        revision=revision,
        epoch=current.head.epoch,
        created=before is None,
        count=written.reference.count,
        digest=written.reference.digest,
        added=written.counts.added,
        removed=written.counts.removed,
        expired=written.counts.expired,
        repeated=written.repeated,
        approval=approval,
        approval_required=approval_required,
    )
