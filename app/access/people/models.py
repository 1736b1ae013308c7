"""People, roles, grants and projects as they are stored.

`signed` has the fields that the MAC of a row covers: the table, the key, and those that give
rights.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.access.models import EVERY_ENVIRONMENT, Grant, Principal, Scope
from app.errors import Unauthenticated

Signed = tuple[str, ...]
# The issuer of people whom an identity-aware proxy names. Those of providers are URLs.
PROXY_ISSUER = "proxy"
# The groups of a person. Each instance reads the groups of all people. The table allows 5,000, so
# that a higher limit needs no migration.
GROUPS_MAX = 1_000
# The characters of an issuer, a subject or a group, as in the constraints of the tables.
IDENTIFIER_MAX = 255
SUSPENDED = "person_suspended"
SUSPENDED_WORDS = "An administrator has suspended your account. Ask an administrator to restore it."
_ACTOR = "person:"


def person_id_of(text: str) -> str:
    """Return the ID of a person. Requests may name the person as `person:ID` too, as actors do."""
    return text.removeprefix(_ACTOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A person who has signed in. Issuer and subject identify them; an e-mail address does not.

    `last_seen_at` is the last sign-in. A refresh of the claims sets `claims_at` only.
    """

    id: str
    mac: bytes = b""
    issuer: str
    subject: str
    name: str
    email: str
    groups: tuple[str, ...]
    first_seen_at: datetime
    last_seen_at: datetime
    claims_at: datetime
    suspended_at: datetime | None

    @property
    def actor(self) -> str:
        return f"{_ACTOR}{self.id}"

    @property
    def is_of_proxy(self) -> bool:
        """Whether an identity-aware proxy names the person, and no provider."""
        return self.issuer == PROXY_ISSUER

    @property
    def principal(self) -> Principal:
        """The principal of a new session. It has no rights of its own."""
        nothing = Grant(scopes=frozenset(), environments=frozenset(), expires_at=None)
        return Principal(actor=self.actor, name=self.name, grant=nothing, person_id=self.id)

    @property
    def signed(self) -> Signed:
        suspended = self.suspended_at
        since = suspended.astimezone(UTC).isoformat() if suspended is not None else "never"
        return ("people", self.id, self.issuer, self.subject, since, *self.groups)


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """A named set of scopes. A role that is built in has no times."""

    name: str
    mac: bytes = b""
    scopes: frozenset[Scope]
    description: str
    version: int = 1
    created_by: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def signed(self) -> Signed:
        return ("roles", self.name, *sorted(self.scopes))


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleGrant:
    """A role of a person or a group, in environments, for the keys with a prefix.

    With `project`, it is the right of the owner group of this project, which has no row.
    """

    id: str
    mac: bytes = b""
    person_id: str | None = None
    group_name: str | None = None
    role: str
    environments: frozenset[str]
    prefix: str
    reason: str
    created_by: str
    created_at: datetime
    project: str | None = None

    @property
    def signed(self) -> Signed:
        holder = (
            f"{_ACTOR}{self.person_id}" if self.group_name is None else f"group:{self.group_name}"
        )
        return ("grants", self.id, holder, self.role, self.prefix, *sorted(self.environments))


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A key prefix with the group that owns it."""

    name: str
    mac: bytes = b""
    prefix: str
    owner_group: str
    description: str
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime

    @property
    def signed(self) -> Signed:
        return ("projects", self.name, self.prefix, self.owner_group)

    @property
    def ownership(self) -> RoleGrant:
        """The grant of the owner group."""
        return RoleGrant(
            id="",
            group_name=self.owner_group,
            role="admin",
            environments=frozenset({EVERY_ENVIRONMENT}),
            prefix=self.prefix,
            reason=f"owner group of the project {self.name}",
            created_by=self.created_by,
            created_at=self.created_at,
            project=self.name,
        )


SignedRow = Person | Role | RoleGrant | Project


def suspended() -> Unauthenticated:
    """Return the refusal of a session whose person is suspended."""
    return Unauthenticated(SUSPENDED, SUSPENDED_WORDS, reason="session of a suspended person")
