"""The parts of a proposal that a caller may read: the operations of their own keys."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.permissions import Rights
from app.configuration.changes.authority import require_keys
from app.configuration.changes.requests import AnyOperation
from app.configuration.proposals.models import Proposal, environments_of, key_of, keys_in


def readable(operations: Iterable[AnyOperation], rights: Rights) -> list[AnyOperation]:
    """Return the operations whose keys the caller may read."""
    return list(_with_scope(operations, rights, Scope.READ))


def _with_scope(
    operations: Iterable[AnyOperation], rights: Rights, scope: Scope
) -> Iterator[AnyOperation]:
    for item in operations:
        if key_of(item) in rights.keys(scope, item.environment or ""):
            yield item


def visible_part(proposal: Proposal, rights: Rights) -> Proposal | None:
    """Return the proposal with the operations of keys that the caller may read, None without any.

    A deleted environment is not the one that has its name now: only callers with rights in every
    environment see its proposals.
    """
    if proposal.is_outdated and EVERY_ENVIRONMENT not in rights.environments(Scope.READ):
        return None
    operations = readable(proposal.operations, rights)
    if not operations:
        return None
    return replace(proposal, operations=operations, environments=environments_of(operations))


def may_read_all(proposal: Proposal, environment: str, rights: Rights) -> bool:
    """Return whether the caller may read all keys of the proposal in an environment."""
    keys = rights.keys(Scope.READ, environment)
    return all(key in keys for key in keys_in(proposal.operations, environment))


def environments_with(proposal: Proposal, rights: Rights, scope: Scope) -> list[str]:
    """Return the environments where a scope holds for a key of the proposal."""
    return environments_of(_with_scope(proposal.operations, rights, scope))


def has_all(proposal: Proposal, rights: Rights, scope: Scope) -> bool:
    """Return whether a scope holds for all keys of the proposal."""
    held = sum(1 for _ in _with_scope(proposal.operations, rights, scope))
    return held == len(proposal.operations)


def require_all(rights: Rights, scope: Scope, operations: Sequence[AnyOperation]) -> None:
    """Require a scope for the key of each operation. Raises Forbidden."""
    for name in environments_of(operations):
        require_keys(rights, scope, name, keys_in(operations, name))


def readable_prefixes(rights: Rights) -> tuple[list[str] | None, list[str] | None]:
    """Return the readable keys for SQL, as the environments and the prefixes of pairs.

    Nulls stand for all keys of every environment.
    """
    if rights.covers_all(Scope.READ, EVERY_ENVIRONMENT):
        return None, None
    pairs = [
        (name, prefix)
        for name in sorted(rights.environments(Scope.READ))
        for prefix in rights.keys(Scope.READ, name).prefixes
    ]
    return [name for name, _ in pairs], [prefix for _, prefix in pairs]
