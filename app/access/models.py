"""What a token says about its bearer."""

from collections.abc import Callable
from dataclasses import dataclass
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

    def covers(self, environment: str) -> bool:
        return EVERY_ENVIRONMENT in self.environments or environment in self.environments

    def allows(self, scope: Scope) -> bool:
        """Tell whether the scope is among ours. None implies another, so a list says it all."""
        return scope in self.scopes


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is stored. `id` may be shown; there is no way back to the secret.

    `retires_at` is set when another token has replaced it, and can only shorten the grant.
    """

    id: str
    name: str
    mac: bytes
    grant: Grant
    retires_at: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        expires_at = self.grant.expires_at
        if expires_at is not None and expires_at <= now:
            return True
        return self.retires_at is not None and self.retires_at <= now


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who stands behind a request."""

    token: Token

    @property
    def actor(self) -> str:
        return f"token:{self.token.id}"
