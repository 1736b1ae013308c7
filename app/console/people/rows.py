"""Plain data of people, grants, roles and projects for the templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.people.book import GrantBook
from app.access.people.models import RoleGrant
from app.access.people.roles import ADMIN
from app.access.people.views import GrantView, PersonView, ProjectView
from app.console.actors import NamedActor, actor_of

_GROUPS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class PersonRow:
    """A person of the list, with the first of their groups."""

    view: PersonView
    actor: NamedActor
    is_own: bool

    @property
    def groups(self) -> Sequence[str]:
        return self.view.groups[:_GROUPS_SHOWN]

    @property
    def more_groups(self) -> int:
        return len(self.view.groups) - len(self.groups)


@dataclass(frozen=True, kw_only=True)
class GrantRow:
    """A grant. `person` is None for that of a group.

    With `project` it is the right of an owner group, which has no page of its own.
    """

    view: GrantView
    person: NamedActor | None
    author: NamedActor
    environments: str
    project: str | None = None


@dataclass(frozen=True, kw_only=True)
class RightsRow:
    """What a person may do by one grant. `project` has an owner group that they are in."""

    scopes: Sequence[str]
    role: str
    environments: str
    prefix: str
    group: str | None
    project: str | None
    reason: str
    author: NamedActor
    created_at: datetime


def person_row(request: web.Request, view: PersonView) -> PersonRow:
    return PersonRow(
        view=view,
        actor=actor_of(request, view.actor, view.name),
        is_own=view.actor == request[CALLER].actor,
    )


def grant_row(request: web.Request, view: GrantView) -> GrantRow:
    person = None
    if view.person is not None:
        person = actor_of(request, f"person:{view.person}", view.holder)
    return GrantRow(
        view=view,
        person=person,
        author=actor_of(request, view.created_by, view.created_by_name),
        environments=environment_words(view.environments),
    )


def ownership_row(request: web.Request, project: ProjectView) -> GrantRow:
    """Return the grant that the owner group of a project has without a row."""
    view = GrantView(
        id="",
        person=None,
        group=project.owner_group,
        holder=project.owner_group,
        role=ADMIN,
        environments=[EVERY_ENVIRONMENT],
        prefix=project.prefix,
        reason="",
        created_by=project.created_by,
        created_by_name=project.created_by_name,
        created_at=project.created_at,
        remarks=project.remarks,
    )
    return replace(grant_row(request, view), project=project.name)


def rights_row(
    request: web.Request, book: GrantBook, grant: RoleGrant, names: Mapping[str, str]
) -> RightsRow:
    role = book.roles.get(grant.role)
    return RightsRow(
        scopes=scope_list(role.scopes) if role is not None else (),
        role=grant.role,
        environments=environment_words(sorted(grant.environments)),
        prefix=grant.prefix,
        group=grant.group_name,
        project=grant.project,
        reason=grant.reason,
        author=actor_of(request, grant.created_by, names[grant.created_by]),
        created_at=grant.created_at,
    )


def environment_words(names: Sequence[str]) -> str:
    return "all" if EVERY_ENVIRONMENT in names else ", ".join(names)


def scope_list(scopes: frozenset[Scope]) -> list[str]:
    """Return scopes in their usual order."""
    return [str(scope) for scope in Scope if scope in scopes]
