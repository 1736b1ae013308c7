"""The operations of commands on people, roles, grants and projects."""

from typing import NamedTuple, Protocol

from app.access.models import Scope
from app.access.people.edit import AccessEventName
from app.access.people.grants import GrantFilter
from app.access.people.views import (
    AccessChange,
    AccessCheck,
    AccessHolder,
    GrantView,
    NewGrant,
    NewProject,
    NewRole,
    PersonView,
    ProjectChange,
    ProjectView,
    RoleChange,
    RoleView,
)


class Holders(NamedTuple):
    """All that may use a scope for a key in an environment."""

    people: list[AccessHolder]
    groups: list[AccessHolder]
    tokens: list[AccessHolder]


class PeopleBackend(Protocol):
    """The operations. A `version` is the expected one."""

    async def list_people(self, search: str | None, group: str | None) -> list[PersonView]: ...

    async def get_person(self, id_: str) -> PersonView: ...

    async def suspend_person(self, id_: str, reason: str) -> PersonView: ...

    async def restore_person(self, id_: str, reason: str) -> PersonView: ...

    async def list_roles(self) -> list[RoleView]: ...

    async def get_role(self, name: str) -> RoleView: ...

    async def create_role(self, new: NewRole) -> RoleView: ...

    async def change_role(self, name: str, change: RoleChange, version: int) -> RoleView: ...

    async def delete_role(self, name: str, version: int, reason: str) -> None: ...

    async def list_grants(self, matching: GrantFilter) -> list[GrantView]: ...

    async def get_grant(self, id_: str) -> GrantView: ...

    async def create_grant(self, new: NewGrant) -> GrantView: ...

    async def revoke_grant(self, id_: str, reason: str) -> None: ...

    async def list_access_changes(
        self, event: AccessEventName | None, subject: str | None, *, limit: int
    ) -> list[AccessChange]: ...

    async def list_projects(self) -> list[ProjectView]: ...

    async def get_project(self, name: str) -> ProjectView: ...

    async def create_project(self, new: NewProject) -> ProjectView: ...

    async def change_project(
        self, name: str, change: ProjectChange, version: int
    ) -> ProjectView: ...

    async def delete_project(self, name: str, version: int, reason: str) -> None: ...

    async def who_may(self, scope: Scope, environment: str, key: str) -> Holders: ...

    async def check_access(
        self, actor: str, scope: Scope, environment: str, key: str
    ) -> AccessCheck: ...
