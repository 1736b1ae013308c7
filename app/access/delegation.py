"""What an administrator may give to others, and manage: only what is within their own rights.

A right is a scope in an environment for the keys below prefixes. An administrator of a prefix
manages the tokens and grants for keys below it.
"""

from collections.abc import Iterable

from app.access.models import Grant, Scope
from app.access.permissions import Keys, Rights
from app.access.refusals import beyond_own


def grantable(own: Rights, scope: Scope, environment: str) -> Keys:
    """Return the keys of the environment for which the scope may be given.

    The scope relay gives what administrators that read have anyway: entries and who may call.
    Callers of earlier releases have neither propose nor approve; then write was enough for both.
    """
    keys = own.keys(scope, environment)
    if scope is Scope.RELAY:
        keys |= own.keys(Scope.READ, environment)
    if scope in {Scope.PROPOSE, Scope.APPROVE}:
        keys |= own.keys(Scope.WRITE, environment)
    return keys & own.keys(Scope.ADMIN, environment)


def may_grant(own: Rights, scope: Scope) -> bool:
    """Return whether the scope may be given anywhere."""
    return any(grantable(own, scope, name) for name in own.environments(Scope.ADMIN))


def check_within(own: Rights, requested: Grant) -> None:
    """Check that a grant is within the caller's own rights. Raises Forbidden, naming the field."""
    check_reach(own, requested.environments, requested.prefixes)
    keys = Keys.below(requested.prefixes)
    for name in requested.environments:
        for scope in requested.scopes:
            if not grantable(own, scope, name).includes(keys):
                raise beyond_own("scope_missing", "scopes")


def reaches(own: Rights, environments: Iterable[str], prefixes: Iterable[str]) -> bool:
    """Return whether the caller administers all these keys."""
    keys = Keys.below(prefixes)
    return all(own.keys(Scope.ADMIN, name).includes(keys) for name in environments)


def reaches_anywhere(own: Rights, prefix: str) -> bool:
    """Return whether the caller administers the keys below a prefix in any environment."""
    return any(reaches(own, [name], [prefix]) for name in own.environments(Scope.ADMIN))


def check_reach(own: Rights, environments: Iterable[str], prefixes: Iterable[str]) -> None:
    """Check that the caller administers these keys. Raises Forbidden, naming the field."""
    keys = Keys.below(prefixes)
    for name in environments:
        held = own.keys(Scope.ADMIN, name)
        if not held:
            raise beyond_own("environment_foreign", "environments")
        if not held.includes(keys):
            raise beyond_own("key_foreign", "prefixes")
