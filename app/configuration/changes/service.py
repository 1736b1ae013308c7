"""Write a change set in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.configuration.changes.approvals import decide, refusal
from app.configuration.changes.authority import PROPERTIES, Authority, check_author
from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.flag_checks import (
    check_compiling,
    check_guards,
    is_checked_when_stored,
)
from app.configuration.changes.foreign_entries import shown, without_foreign
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import (
    Change,
    ChangeKind,
    ChangeSet,
    Content,
    Entry,
    Operation,
    PropertiesChange,
)
from app.configuration.changes.named_lists import check_lists
from app.configuration.changes.offload import run_by_size
from app.configuration.changes.plan_steps import check_new_plans, in_stored_form
from app.configuration.changes.prerequisites import check_prerequisites
from app.configuration.changes.properties import PropertiesPatch, patched
from app.configuration.changes.proposed import approval_required, proposed_operations
from app.configuration.changes.references import check_references
from app.configuration.changes.row_writer import write
from app.configuration.changes.rows import Locked, lock_entries
from app.configuration.changes.sealing import seal_secrets
from app.database import Connection
from app.environments.models import Environment
from app.errors import AppError, Conflict, Invalid, NotFound, Stale, Violation
from app.names import KEY_RULE, is_key
from app.secrets.vault import Vault
from app.threads import free_later, in_turn

# These restore old entries, whose keys may break the current rules.
_UNDOING = {ChangeKind.REVERT, ChangeKind.RESTORE}
# A key may have another kind in the past or in the source environment.
# A proposal may have been made from such a write, and its reviewers see the change.
_KIND_CHANGING = {
    ChangeKind.REVERT,
    ChangeKind.RESTORE,
    ChangeKind.PROMOTE,
    ChangeKind.PROPOSAL,
}

_VIOLATIONS_MAX = 20
# More operations are checked in a thread.
_QUICK_OPERATIONS = 500
# The text of an error names at most 10 keys; its violations name all.
_STALE_NAMED_MAX = 10


async def apply(  # noqa: PLR0913 - all but three by name
    connection: Connection,
    environment: str,
    operations: Sequence[Operation],
    *,
    actor: str,
    kind: ChangeKind = ChangeKind.EDIT,
    message: str = "",
    patch: PropertiesPatch | None = None,
    authority: Authority,
    vault: Vault | None = None,
    is_dry_run: bool = False,
) -> ChangeSet:
    """Write one change set. Each key may have one operation; `patch` changes the properties.

    Without a vault, secrets are refused as without a key ring. After an error the caller must roll
    back, which also frees the revision. A dry run makes the same checks, and writes only if a check
    reads the stored change set; the caller must roll it back.

    `authority` has the rights of the author, and what allows the write in a protected environment.
    Raises Forbidden for keys outside of these rights, and ApprovalRequired if approvals lack, or if
    the author may propose and not write. Errors of checks show no entries that the author may not
    read.

    Raises NotFound for the environment or for a key to delete. Raises Stale with each key whose
    version is not the expected one, and Conflict when a key would change its kind. Raises Invalid
    for keys, references, flags and guards, and TooLarge for metadata.
    """
    if kind not in _UNDOING:
        check_keys(operations)
    locked = await lock_entries(
        connection, environment, [operation.key for operation in operations]
    )
    authority = replace(authority, is_dry_run=True) if is_dry_run else authority
    try:
        change_set = await prepare(
            connection,
            locked,
            operations,
            actor=actor,
            kind=kind,
            message=message,
            patch=patch,
            vault=vault,
            authority=authority,
        )
        if not is_dry_run or is_checked_when_stored(change_set):
            await write(connection, locked.environment, [change_set])
        lenient = {operation.key for operation in operations if operation.is_lenient}
        await check_compiling(connection, change_set, exempt=lenient)
        await check_guards(connection, change_set)
    except AppError as error:
        raise without_foreign(error, authority.visible(environment)) from None
    return change_set


async def prepare(  # noqa: PLR0913 - all but three by name
    connection: Connection,
    locked: Locked,
    operations: Sequence[Operation],
    *,
    actor: str,
    kind: ChangeKind = ChangeKind.EDIT,
    message: str = "",
    patch: PropertiesPatch | None = None,
    authority: Authority,
    vault: Vault | None = None,
) -> ChangeSet:
    """Return the next change set of a locked environment, without writing it. Raises as `apply`."""
    head, entries = locked.environment, locked.entries
    keys = [operation.key for operation in operations]
    # Before all checks, which would tell whether foreign entries exist.
    proposable = check_author(authority, head.name, keys if patch is None else [*keys, PROPERTIES])
    properties = _properties(head, patch) if patch is not None else None

    def check() -> list[Change]:
        _check_format(operations, entries)
        check_versions(operations, entries, head.epoch)
        _check_kinds(operations, entries, may_change=kind in _KIND_CHANGING)
        stored = [in_stored_form(operation) for operation in operations]
        if kind is ChangeKind.EDIT:
            check_new_plans(stored, entries, locked.created_at)
        return [_change(operation, entries[operation.key]) for operation in stored]

    changes = await in_turn("check", check) if len(operations) > _QUICK_OPERATIONS else check()
    free_later(entries, changes)
    verdict = await decide(connection, head, changes, properties, authority, proposable)
    if verdict.is_refused and not authority.is_dry_run:
        raise approval_required(
            *refusal(head, verdict),
            proposed_operations(
                head.name,
                operations,
                {key: entry.version for key, entry in entries.items()},
                properties,
            ),
            message,
        )
    changes = await seal_secrets(connection, vault or Vault(), head.name, changes)
    await check_lists(connection, operations, authority, actor=actor)
    lenient = all(operation.is_lenient for operation in operations)
    warnings = await check_references(connection, head.name, changes, lenient=lenient)
    warnings += await check_prerequisites(connection, head.name, changes, lenient=lenient)
    change_set = ChangeSet(
        environment=head.name,
        revision=head.revision + 1,
        epoch=head.epoch,
        hash=bytes.fromhex(head.hash) if head.hash else GENESIS,
        kind=kind,
        actor=actor,
        message=message,
        created_at=locked.created_at,
        changes=changes,
        properties=properties,
        warnings=shown(warnings, authority.visible(head.name)),
        approval=verdict.approval,
        approval_required=verdict.is_refused,
        lacking=verdict.lacking,
    )
    hash_ = await run_by_size(changes, "link", lambda: link_hash(change_set.hash, change_set))
    return replace(change_set, hash=hash_)


def check_keys(operations: Sequence[Operation]) -> None:
    """Refuse to store malformed keys. An entry with such a key can still be deleted."""
    wrong = [item.key for item in operations if item.content is not None and not is_key(item.key)]
    if wrong:
        violations = [Violation(key, KEY_RULE) for key in wrong[:_VIOLATIONS_MAX]]
        raise Invalid.of("key_invalid", violations)


def _properties(head: Environment, patch: PropertiesPatch) -> PropertiesChange:
    """Apply the patch to the stored properties. Raises Stale, TooLarge."""
    before = head.properties
    if patch.expected is not None and not patch.expected.is_met(before.version, head.epoch):
        raise stale_environment(before.version, head.epoch)
    return PropertiesChange(before=before, after=patched(before, patch))


def stale_environment(version: int, epoch: str) -> Stale:
    rule = f"is at version {version}"
    return Stale(
        f"The environment {rule}.",
        version=version,
        epoch=epoch,
        violations=[Violation("environment", rule)],
    )


def is_stored(new: Content | None, stored: Content | None) -> bool:
    """Return whether a content has the kind and the value of the stored one."""
    return (
        new is not None
        and stored is not None
        and new.kind is stored.kind
        and are_equal(new.value, stored.value)
    )


def _check_format(operations: Sequence[Operation], entries: Mapping[str, Entry]) -> None:
    """Raise the format errors of contents that are not already stored."""
    refused = [
        operation.refusal
        for operation in operations
        if operation.refusal is not None
        and not is_stored(operation.content, entries[operation.key].content)
    ]
    if refused:
        violations = [violation for error in refused for violation in error.violations]
        raise Invalid(refused[0].code, refused[0].message, violations)


def check_versions(
    operations: Sequence[Operation], entries: Mapping[str, Entry], epoch: str
) -> None:
    """Raise Stale with each key whose version is not the expected one."""
    stale = [
        (operation, entries[operation.key])
        for operation in operations
        if operation.expected is not None
        and not operation.expected.is_met(entries[operation.key].version, epoch)
    ]
    if stale:
        named = [entry for _, entry in stale[:_STALE_NAMED_MAX]]
        rest = f"; and {len(stale) - len(named)} more" if len(stale) > len(named) else ""
        raise Stale(
            "; ".join(map(_current_state, named)) + rest,
            version=stale[0][1].version,
            epoch=epoch,
            violations=[Violation(entry.key, _current_state(entry)) for _, entry in stale],
        )


def _check_kinds(
    operations: Sequence[Operation], entries: Mapping[str, Entry], *, may_change: bool
) -> None:
    for operation in operations:
        check_kind(operation.content, entries[operation.key].content, may_change=may_change)


def check_kind(new: Content | None, stored: Content | None, *, may_change: bool = False) -> None:
    """Raise NotFound if an entry to delete does not exist, and Conflict if the kind changes."""
    if new is None and stored is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    if new and stored and new.kind is not stored.kind and not may_change:
        raise Conflict(
            "kind_fixed",
            f"The entry is a {stored.kind}. To change the kind, delete it and create it again.",
            [Violation("kind", f"must be {stored.kind}")],
        )


def _current_state(entry: Entry) -> str:
    if entry.version is None:
        return f"{entry.key} does not exist"
    return f"{entry.key} is at version {entry.version}"


def _change(operation: Operation, entry: Entry) -> Change:
    version = None if operation.content is None else entry.last_version + 1
    return Change(key=operation.key, before=entry, after=operation.content, version=version)
