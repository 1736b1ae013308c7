"""Tokens, sessions and their grants."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property

EVERY_ENVIRONMENT = "*"
# A prefix of every key.
EVERY_KEY = ""


class Scope(StrEnum):
    EVALUATE = "evaluate"
    READ = "read"
    WRITE = "write"
    PROPOSE = "propose"
    APPROVE = "approve"
    REVEAL = "reveal"
    ADMIN = "admin"
    RELAY = "relay"
    PUBLISH = "publish"


# The scopes that sessions and tokens for administrators get by default. A relay is no person.
# Publishing without approval is for emergencies, so it is granted by name. A release that does not
# know a scope refuses the tokens that have it.
PERSONAL_SCOPES = frozenset(Scope) - {Scope.RELAY, Scope.PUBLISH}
# The scopes that a session may have.
SESSION_SCOPES = frozenset(Scope) - {Scope.RELAY}


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Scopes in environments for the keys below prefixes, and their expiry.

    That of a token is covered by its MAC, together with the secret.
    """

    scopes: frozenset[Scope]
    environments: frozenset[str]
    prefixes: frozenset[str] = frozenset({EVERY_KEY})
    expires_at: datetime | None

    @property
    def has_all_keys(self) -> bool:
        return EVERY_KEY in self.prefixes

    def overlaps(self, environments: frozenset[str]) -> bool:
        """Return whether the grant covers one of these environments."""
        if EVERY_ENVIRONMENT in self.environments or EVERY_ENVIRONMENT in environments:
            return True
        return not self.environments.isdisjoint(environments)


# That of the first administrator, and of operators who sign in.
PERSONAL_GRANT = Grant(
    scopes=PERSONAL_SCOPES, environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is stored, without its secret.

    `retires_at` is set when another token replaces it. It can only shorten the grant. `lapsed`
    lists the environments of the grant that were deleted since, in the order of their deletion.
    Relays check `relay_mac`, which has another key.
    """

    id: str
    name: str
    mac: bytes
    grant: Grant
    retires_at: datetime | None = None
    lapsed: tuple[str, ...] = ()
    relay_mac: bytes | None = None

    @property
    def reach(self) -> Grant:
        """The grant without deleted environments. The MAC covers the whole `grant`."""
        if not self.lapsed:
            return self.grant
        return replace(self.grant, environments=self.grant.environments.difference(self.lapsed))

    @cached_property
    def may_end(self) -> bool:
        return self.grant.expires_at is not None or self.retires_at is not None

    def is_over(self, now: datetime) -> bool:
        expires_at = self.grant.expires_at
        if expires_at is not None and expires_at <= now:
            return True
        return self.retires_at is not None and self.retires_at <= now


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who may sign in: the author of changes, the name that pages show, and the rights.

    `actor` is `token:ID`, `person:ID` or `operator:NAME`. With `token_id`, the rights end with that
    token. With `person_id`, `grant` is empty: the rights are those of the person's grants now.
    """

    actor: str
    name: str
    grant: Grant
    token_id: str | None = None
    person_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConsoleSession(Principal):
    """A session of the console as it is stored, without its secret."""

    id: str
    mac: bytes
    created_at: datetime
    last_seen_at: datetime
