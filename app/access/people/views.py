"""The bodies of requests and responses about people, roles, grants, projects and their history."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.access.models import Scope
from app.access.people.models import IDENTIFIER_MAX
from app.names import ENVIRONMENT_PATTERN

REASON_MAX = 500
DESCRIPTION_MAX = 1_000
PREFIX_MAX = 255
ENVIRONMENTS_MAX = 200
# Names of roles and projects have the rule of environments.
NAME_PATTERN = ENVIRONMENT_PATTERN

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_MAX)]
Remark = Annotated[str, msgspec.Meta(max_length=REASON_MAX)]
Description = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)]
Group = Annotated[str, msgspec.Meta(min_length=1, max_length=IDENTIFIER_MAX)]
Scopes = Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=len(Scope))]
Environments = Annotated[list[str], msgspec.Meta(min_length=1, max_length=ENVIRONMENTS_MAX)]


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """A person who has signed in.

    `claims_at` is when the provider last confirmed name, e-mail address and groups. `remarks` say
    what needs attention.
    """

    id: str
    actor: str
    name: str
    email: str
    issuer: str
    subject: str
    groups: list[str]
    first_sign_in_at: datetime
    last_sign_in_at: datetime
    claims_at: datetime
    suspended_at: datetime | None
    remarks: list[str]


class PersonPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page in the order of names. `next` is the ID to send as `after`, null on the last page."""

    items: list[PersonView]
    next: str | None


class SuspensionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a person is suspended or restored."""

    reason: Reason


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of scopes. A role that is built in has no author and no times."""

    name: str
    scopes: list[str]
    description: str
    built_in: bool
    version: int
    created_by: str | None
    created_by_name: str | None
    created_at: datetime | None
    updated_at: datetime | None
    remarks: list[str]


class RoleList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[RoleView]


class NewRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role to create. Its scopes must be among those of the caller."""

    name: Name
    scopes: Scopes
    description: Description = ""
    reason: Remark = ""


class RoleChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new scopes and description of a role. Grants of the role change with it."""

    scopes: Scopes
    description: Description = ""
    reason: Remark = ""


class GrantView(msgspec.Struct, frozen=True, kw_only=True):
    """A role that a person or a group has, in environments, for the keys with a prefix.

    `person` is an ID, null for a grant to a group. `holder` is the name to show.
    """

    id: str
    person: str | None
    group: str | None
    holder: str
    role: str
    environments: list[str]
    prefix: str
    reason: str
    created_by: str
    created_by_name: str
    created_at: datetime
    remarks: list[str]


class GrantPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page in the order of IDs. `next` is the `after` of the next page, null on the last page."""

    items: list[GrantView]
    next: str | None


class NewGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role for a person or a group. It must be within the rights of the caller.

    A group may be granted a role before it has members.
    """

    person: str | None = None
    group: Group | None = None
    role: Name
    environments: Environments
    prefix: Annotated[str, msgspec.Meta(max_length=PREFIX_MAX)] = ""
    reason: Reason


class ProjectView(msgspec.Struct, frozen=True, kw_only=True):
    """A key prefix with the group that owns it.

    Members of the group have the role admin for these keys in all environments.
    """

    name: str
    prefix: str
    owner_group: str
    description: str
    version: int
    created_by: str
    created_by_name: str
    created_at: datetime
    updated_at: datetime
    remarks: list[str]


class ProjectList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ProjectView]


class NewProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to create. The caller must have the role admin for its prefix everywhere."""

    name: Name
    prefix: Annotated[str, msgspec.Meta(min_length=1, max_length=PREFIX_MAX)]
    owner_group: Group
    description: Description = ""
    reason: Remark = ""


class ProjectChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a project to change. To change the prefix, create another project."""

    owner_group: Group | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    reason: Remark = ""


class AccessChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of grants, roles, projects or a suspension.

    `subject` is the ID of the grant or person, or the name of the role or project. `before` is null
    for a creation, and `after` for a deletion.
    """

    id: int
    at: datetime
    actor: str
    actor_name: str
    event: str
    subject: str
    environments: list[str] | None
    prefix: str | None
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AccessHistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page, the latest first. `next` is the `before` of the next page, null on the last page."""

    items: list[AccessChange]
    next: int | None


class AccessReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a principal may do something.

    `via` is the group or the project that a person has it from, null for a grant of their own and
    for a token. `grant` and `reason` are null for a token, and for a grant that the caller may not
    manage.
    """

    text: str
    via: str | None
    grant: str | None
    role: str | None
    environments: list[str]
    prefixes: list[str]
    reason: str | None


class AccessHolder(msgspec.Struct, frozen=True, kw_only=True):
    """A principal that may do something. `actor` is `person:ID`, `token:ID` or `group:NAME`."""

    actor: str
    name: str
    reasons: list[AccessReason]


class WhoMay(msgspec.Struct, frozen=True, kw_only=True):
    """Every principal that may use the scope for the key in the environment.

    Groups and tokens are complete. `next` is the `after` of the next page of people, null on the
    last page.
    """

    scope: str
    environment: str
    key: str
    groups: list[AccessHolder]
    tokens: list[AccessHolder]
    people: list[AccessHolder]
    next: str | None


class AccessCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an actor may use the scope for the key in the environment, and why."""

    actor: str
    actor_name: str
    scope: str
    environment: str
    key: str
    allowed: bool
    text: str
    reasons: list[AccessReason]


class OwnRight(msgspec.Struct, frozen=True, kw_only=True):
    """Scopes in environments for the keys with a prefix. `text` says them in words."""

    scopes: list[str]
    environments: list[str]
    prefixes: list[str]
    text: str


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of this request, and what it may do."""

    actor: str
    actor_name: str
    expires_at: datetime | None
    rights: list[OwnRight]
