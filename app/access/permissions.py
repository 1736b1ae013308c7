"""The one permission check: whether a principal may do something with a key of an environment.

The check is pure. It needs no query: tokens and sessions have their rights in memory. Whatever
lists, counts or streams keys asks for the `Keys` of the caller, and filters by them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from app.access.models import EVERY_ENVIRONMENT, EVERY_KEY, Grant, Scope

_ALL_PREFIXES = (EVERY_KEY,)


# Up to this number, to try each prefix is faster than to search.
_FEW_PREFIXES = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that begin with one of the prefixes. No prefix begins with another one.

    The prefixes are sorted.
    """

    prefixes: tuple[str, ...]

    @classmethod
    def below(cls, prefixes: Iterable[str]) -> "Keys":
        """Return the keys below these prefixes, without those that others imply."""
        needed: list[str] = []
        for prefix in sorted(set(prefixes)):
            if not needed or not prefix.startswith(needed[-1]):
                needed.append(prefix)
        return cls(tuple(needed))

    @property
    def is_all(self) -> bool:
        return self.prefixes == _ALL_PREFIXES

    @property
    def filter(self) -> list[str] | None:
        """The prefixes for a statement, None for all keys."""
        return None if self.is_all else list(self.prefixes)

    @property
    def words(self) -> str:
        """The keys for people, such as "keys with the prefix shop/"."""
        return "all keys" if self.is_all else f"keys with the prefix {' or '.join(self.prefixes)}"

    def __bool__(self) -> bool:
        return bool(self.prefixes)

    def __contains__(self, key: str) -> bool:
        if len(self.prefixes) <= _FEW_PREFIXES:
            return key.startswith(self.prefixes)
        # A prefix of the key sorts before it, and only keys with that prefix sort between.
        place = bisect_right(self.prefixes, key) - 1
        return place >= 0 and key.startswith(self.prefixes[place])

    def __or__(self, other: "Keys") -> "Keys":
        return Keys.below(self.prefixes + other.prefixes)

    def __and__(self, other: "Keys") -> "Keys":
        inner = [prefix for prefix in self.prefixes if prefix in other]
        return Keys.below(inner + [prefix for prefix in other.prefixes if prefix in self])

    def includes(self, other: "Keys") -> bool:
        """Return whether all keys of the other are among these."""
        return all(prefix in self for prefix in other.prefixes)


ALL_KEYS = Keys((EVERY_KEY,))
NO_KEYS = Keys(())


class Rights:
    """What a principal may do: the union of its grants, by scope and environment.

    The scope write includes propose. No other scope includes another.
    """

    __slots__ = (
        "_environments",
        "_everywhere",
        "_named",
        "_of_all_keys",
        "grants",
        "have_prefixes",
    )

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.grants = tuple(grants)
        # Without a prefix, each scope holds for all keys of an environment or for none.
        self.have_prefixes = any(grant.prefixes != {EVERY_KEY} for grant in self.grants)
        # The keys in every environment, and those in each named one, with the former.
        self._everywhere: dict[Scope, Keys] = {}
        self._named: dict[Scope, dict[str, Keys]] = {}
        # Most scopes and environments have the keys of the same grants.
        known: dict[frozenset[int], Keys] = {}
        scopes = [with_implied(grant.scopes) for grant in self.grants]
        for scope in frozenset[Scope]().union(*scopes):
            held = [grant for grant, own in zip(self.grants, scopes, strict=True) if scope in own]
            names = {name for grant in held for name in grant.environments}
            found = {name: _keys(held, name, known) for name in names}
            self._everywhere[scope] = found.pop(EVERY_ENVIRONMENT, NO_KEYS)
            self._named[scope] = found
        every = self._scopes_of_all_keys(EVERY_ENVIRONMENT)
        names = {name for found in self._named.values() for name in found}
        self._of_all_keys: dict[str | None, frozenset[Scope]] = {
            name: self._scopes_of_all_keys(name) for name in names
        }
        self._of_all_keys[None] = every.union(*self._of_all_keys.values())
        self._of_all_keys[EVERY_ENVIRONMENT] = every
        self._environments: dict[tuple[Scope, bool], frozenset[str]] = {}

    def keys(self, scope: Scope, environment: str) -> Keys:
        """Return the keys of the environment that the scope holds for."""
        named: Mapping[str, Keys] | None = self._named.get(scope)
        if named is None:
            return NO_KEYS
        return named.get(environment) or self._everywhere[scope]

    def has(self, scope: Scope) -> bool:
        """Return whether the scope holds anywhere."""
        return scope in self._named

    def covers(self, scope: Scope, environment: str) -> bool:
        """Return whether the scope holds for a key of the environment."""
        return bool(self.keys(scope, environment))

    def covers_all(self, scope: Scope, environment: str) -> bool:
        """Return whether the scope holds for all keys of the environment."""
        return self.keys(scope, environment).is_all

    def has_all_keys(self, scopes: Iterable[Scope], environment: str | None) -> bool:
        """Return whether each scope holds for all keys: of the environment, or of any for None.

        This is the check of most requests.
        """
        found = self._of_all_keys.get(environment)
        if found is None:
            found = self._of_all_keys[EVERY_ENVIRONMENT]
        return found.issuperset(scopes)

    def environments(self, scope: Scope, *, all_keys: bool = False) -> frozenset[str]:
        """Return where the scope holds for a key, or for all keys. `*` is every environment."""
        known = self._environments.get((scope, all_keys))
        if known is None:
            found = {EVERY_ENVIRONMENT: self._everywhere.get(scope, NO_KEYS)}
            found |= self._named.get(scope, {})
            known = self._environments[scope, all_keys] = frozenset(
                name for name, keys in found.items() if (keys.is_all if all_keys else keys)
            )
        return known

    def prefixes(self, scope: Scope) -> list[tuple[str, str]]:
        """Return each environment with each prefix for which the scope holds."""
        names = sorted(self.environments(scope))
        return [(name, prefix) for name in names for prefix in self.keys(scope, name).prefixes]

    def _scopes_of_all_keys(self, environment: str) -> frozenset[Scope]:
        return frozenset(scope for scope in self._named if self.covers_all(scope, environment))


def narrowed(grant: Grant, limit: Grant) -> Grant:
    """Return what both grants give."""
    environments = grant.environments
    if EVERY_ENVIRONMENT in environments:
        environments = limit.environments
    elif EVERY_ENVIRONMENT not in limit.environments:
        environments &= limit.environments
    prefixes = Keys.below(grant.prefixes) & Keys.below(limit.prefixes)
    return replace(
        grant,
        scopes=grant.scopes & limit.scopes,
        environments=environments,
        prefixes=frozenset(prefixes.prefixes),
    )


class RightsHolder(Protocol):
    """A token, a person or an operator, with its rights now."""

    @property
    def rights(self) -> Rights: ...


def allowed(principal: RightsHolder, action: Scope, environment: str, key: str) -> bool:
    """Return whether the principal may do this with the key in the environment."""
    return key in principal.rights.keys(action, environment)


def with_implied(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """Return the scopes, with propose if write is among them."""
    return scopes | {Scope.PROPOSE} if Scope.WRITE in scopes else scopes


def _keys(grants: Iterable[Grant], environment: str, known: dict[frozenset[int], Keys]) -> Keys:
    """Return the keys of these grants in the environment, from `known` if they are there."""
    here = [
        grant
        for grant in grants
        if environment in grant.environments or EVERY_ENVIRONMENT in grant.environments
    ]
    ids = frozenset(map(id, here))
    if ids not in known:
        known[ids] = Keys.below(prefix for grant in here for prefix in grant.prefixes)
    return known[ids]


# Those of an operator at the host, who has access to the database, and of the service itself.
OPERATOR_RIGHTS = Rights(
    [Grant(scopes=frozenset(Scope), environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None)]
)
