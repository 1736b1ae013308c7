"""What a token says about its bearer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

EVERY_ENVIRONMENT = "*"

# Whether an environment may be named to a caller; `Grant.covers` is one.
Covers = Callable[[str], bool]


class Scope(StrEnum):
    EVALUATE = "evaluate"
    READ = "read"
    WRITE = "write"
    REVEAL = "reveal"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a token may do, until when: the part of it that the MAC covers besides the secret."""

    scopes: frozenset[Scope]
    environments: frozenset[str]
    expires_at: datetime | None

    def without(self, environments: Sequence[str]) -> "Grant":
        """Return the grant without environments that were deleted."""
        return replace(self, environments=self.environments.difference(environments))

    def covers(self, environment: str) -> bool:
        return EVERY_ENVIRONMENT in self.environments or environment in self.environments

    def allows(self, scope: Scope) -> bool:
        """Tell whether the scope is among ours. None implies another, so a list says it all."""
        return scope in self.scopes


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is stored. `id` may be shown; there is no way back to the secret.

    `retires_at` is set when another token has replaced it, and can only shorten the grant. `lapsed`
    are environments of the grant that were deleted since, in that order.
    """

    id: str
    name: str
    mac: bytes
    grant: Grant
    retires_at: datetime | None = None
    lapsed: tuple[str, ...] = ()

    @property
    def reach(self) -> Grant:
        """What the token may do now. `grant` is what its MAC covers."""
        return self.grant.without(self.lapsed) if self.lapsed else self.grant

    def is_over(self, now: datetime) -> bool:
        expires_at = self.grant.expires_at
        if expires_at is not None and expires_at <= now:
            return True
        return self.retires_at is not None and self.retires_at <= now


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who stands behind a request, and what they may do."""

    token: Token
    grant: Grant

    @property
    def actor(self) -> str:
        return f"token:{self.token.id}"
