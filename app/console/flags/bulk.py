"""Plan an action on several flags: what each change would be, before anything is written."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import msgspec
from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.changes import plans
from app.configuration.changes.authority import require_keys
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.plans import ChangePlan
from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.configuration.changes.views import EntryView, entry_view
from app.configuration.snapshots.reading import load_snapshot
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.saving import check_grant
from app.database import Connection
from app.errors import AppError, Conflict, Violation, invalid
from app.evaluation.validation import check_flag
from app.flags.change_words.entries import describe_change
from app.flags.change_words.sentences import Sentence, Tense
from app.flags.editing import Definition
from app.flags.switching import read_latest_with_targeting, switched_off, switched_on
from app.http.keys import DATABASE
from app.names import first_words
from app.threads import in_turn

# The text of a conflict names at most 10 keys; its violations name all.
_NAMED_MAX = 10


class FlagAction(StrEnum):
    SWITCH_OFF = "switch-off"
    SWITCH_ON = "switch-on"
    PROMOTE = "promote"
    EXPORT = "export"
    DELETE = "delete"


@dataclass(frozen=True, kw_only=True)
class PlannedChange:
    """A key and its entry before and after. `version` is the version that the write expects."""

    key: str
    version: int | None
    before: EntryView | None
    after: EntryView | None

    @cached_property
    def token(self) -> str:
        """Identify the change in a form, so that a write does exactly what was reviewed."""
        after = self.after and msgspec.structs.replace(self.after, version=0)
        digest = hashlib.blake2b(msgspec.json.encode(after, order="sorted"), digest_size=12)
        return f"{self.key}@{self.version or 0}@{digest.hexdigest()}"

    @cached_property
    def sentences(self) -> list[Sentence]:
        return describe_change(self.key, self.before, self.after, tense=Tense.PLANNED)


@dataclass(frozen=True, kw_only=True)
class BulkPlan:
    """The changes that an action would make, and why it leaves other flags out, by key."""

    changes: Sequence[PlannedChange]
    left_out: Mapping[str, str]

    def check_reviewed(self, tokens: Iterable[str]) -> None:
        """Raise Conflict with each key whose change is not the one that was reviewed."""
        differing = {change.token for change in self.changes} ^ set(tokens)
        if not differing:
            return
        keys = sorted({token.partition("@")[0] for token in differing})
        message = f"Changed meanwhile: {first_words(keys, _NAMED_MAX)}. Review them again."
        violations = [Violation(key, "changed after you reviewed it") for key in keys]
        raise Conflict("review_outdated", message, violations)

    def describe(self) -> "BulkPlan":
        """Compute what the page shows, which takes 0.1 ms for each change."""
        for change in self.changes:
            _ = change.token, change.sentences
        return self

    def operations(self) -> list[PutOperation | DeleteOperation]:
        return [_operation(change) for change in self.changes]


def _operation(change: PlannedChange) -> PutOperation | DeleteOperation:
    if change.after is None:
        return DeleteOperation(key=change.key, version=change.version or 0)
    return PutOperation(
        key=change.key,
        version=change.version or 0,
        value=change.after.value,
        kind="flag",
        schema=change.after.schema,
        description=change.after.description,
    )


async def plan_edits(
    request: web.Request, snapshot: Snapshot, action: FlagAction, keys: Sequence[str]
) -> BulkPlan:
    """Plan to switch or delete flags of an environment."""
    earlier: dict[str, Definition | None] = {}
    if action is FlagAction.SWITCH_ON:
        async with request.app[DATABASE].connection() as connection:
            name = snapshot.environment.name
            for key in keys:
                if _is_flag(snapshot, key):
                    earlier[key] = await read_latest_with_targeting(connection, name, key)
    return await in_turn("plan", lambda: _plan_edits(snapshot, action, keys, earlier))


def _plan_edits(
    snapshot: Snapshot,
    action: FlagAction,
    keys: Sequence[str],
    earlier: Mapping[str, Definition | None],
) -> BulkPlan:
    changes: list[PlannedChange] = []
    left_out: dict[str, str] = {}
    for key in keys:
        if not _is_flag(snapshot, key):
            left_out[key] = "does not exist any more"
            continue
        configuration = snapshot.entries[key].configuration
        try:
            after = _edited(configuration, action, earlier.get(key))
        except AppError as error:
            left_out[key] = f"cannot be switched here: {error.message}"
            continue
        if after is not None and after == configuration.value:
            left_out[key] = f"is {action.removeprefix('switch-')} already"
            continue
        changes.append(_edit(configuration, after))
    return BulkPlan(changes=changes, left_out=left_out)


def _is_flag(snapshot: Snapshot, key: str) -> bool:
    entry = snapshot.entries.get(key)
    return entry is not None and entry.kind == Kind.FLAG


def _edit(configuration: Configuration, after: Definition | None) -> PlannedChange:
    content, version = Content.of(configuration), configuration.version
    before = entry_view(content, version)
    changed = None
    if before is not None and after is not None:
        changed = msgspec.structs.replace(before, value=after)
    return PlannedChange(key=configuration.key, version=version, before=before, after=changed)


def _edited(
    configuration: Configuration, action: FlagAction, earlier: Definition | None
) -> Definition | None:
    """Return the definition after the action, None when it deletes the flag. Raises Invalid."""
    if action is FlagAction.DELETE:
        return None
    if violations := check_flag(configuration.value):
        raise invalid("value", f"is broken ({violations[0]})")
    definition: Definition = configuration.value
    if action is FlagAction.SWITCH_OFF:
        return switched_off(definition)
    return switched_on(definition, earlier)


async def plan_promotion(
    request: web.Request, source: str, target: str, keys: Sequence[str]
) -> BulkPlan:
    """Plan to make flags of the target equal to the source, with the segments that they use."""
    check_grant(request, target, Scope.READ)
    snapshot = await load_snapshot(request, target)
    plan = await request.app[DATABASE].transact(
        lambda connection: promotion(request, connection, source, target, keys)
    )
    changed = [operation.key for operation in plan.intent.operations]
    require_keys(request[CALLER].rights, Scope.READ, target, changed)
    return await in_turn("plan", lambda: bulk_plan_of(plan, snapshot, keys))


async def promotion(
    request: web.Request, connection: Connection, source: str, target: str, keys: Sequence[str]
) -> ChangePlan:
    rights = request[CALLER].rights
    return await plans.promote(connection, source, target, keys, rights=rights)


def bulk_plan_of(plan: ChangePlan, snapshot: Snapshot, keys: Iterable[str]) -> BulkPlan:
    """Return the plan of a promotion in the form of the others. The snapshot is the target's."""
    changes = [_planned(operation, snapshot) for operation in plan.intent.operations]
    changed = {change.key for change in changes}
    return BulkPlan(
        changes=changes,
        left_out={key: f"is the same in {plan.environment}" for key in keys if key not in changed},
    )


def _planned(operation: Operation, snapshot: Snapshot) -> PlannedChange:
    version = operation.expected.version if operation.expected is not None else None
    stored = snapshot.entries.get(operation.key)
    before = None
    if stored is not None and version is not None:
        before = entry_view(Content.of(stored.configuration), version)
    return PlannedChange(
        key=operation.key,
        version=version,
        before=before,
        after=entry_view(operation.content, (version or 0) + 1),
    )
