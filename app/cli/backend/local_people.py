"""The operations of commands on people, roles, grants and projects, on the database."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.access.local_credentials import token_key
from app.access.models import Scope
from app.access.people import explain, grants, history, own_roles, projects, service
from app.access.people.edit import AccessEdit, AccessEventName
from app.access.people.explain import Question
from app.access.people.grants import GrantFilter
from app.access.people.rows import read_book
from app.access.people.signatures import RowSigner
from app.access.people.views import (
    AccessChange,
    AccessCheck,
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
from app.access.permissions import OPERATOR_RIGHTS
from app.cli.backend.local_administration import LocalAdministration
from app.cli.backend.people_interface import Holders
from app.database import Connection
from app.environments import service as environments
from app.http.conditions import ExpectedVersion
from app.http.wire import LATEST

Result = TypeVar("Result")
_PAGE = 500


class LocalPeople(LocalAdministration):
    """The operations. An operator has all rights, so a person who lost theirs can be helped."""

    async def list_people(self, search: str | None, group: str | None) -> list[PersonView]:
        people: list[PersonView] = []
        after: str | None = ""
        async with self._database.connection() as connection:
            while after is not None:
                page = await service.list_page(
                    *(connection, token_key(self._settings)),
                    search=search,
                    group=group,
                    after=after,
                    limit=_PAGE,
                )
                people += page.items
                after = page.next
        return people

    async def get_person(self, id_: str) -> PersonView:
        async with self._database.connection() as connection:
            person = await service.get(connection, id_)
        return service.person_view(person, RowSigner(token_key(self._settings)))

    async def suspend_person(self, id_: str, reason: str) -> PersonView:
        async def work(edit: AccessEdit) -> PersonView:
            person = await service.suspend(edit, id_, reason=reason)
            return service.person_view(person, edit.signer)

        return await self._edit(work)

    async def restore_person(self, id_: str, reason: str) -> PersonView:
        async def work(edit: AccessEdit) -> PersonView:
            person = await service.restore(edit, id_, reason=reason)
            return service.person_view(person, edit.signer)

        return await self._edit(work)

    async def list_roles(self) -> list[RoleView]:
        async with self._database.connection() as connection:
            roles = await own_roles.list_all(connection)
            return await own_roles.role_views(connection, token_key(self._settings), roles)

    async def get_role(self, name: str) -> RoleView:
        async with self._database.connection() as connection:
            return await self._role(connection, name)

    async def create_role(self, new: NewRole) -> RoleView:
        async def work(edit: AccessEdit) -> RoleView:
            await own_roles.create(edit, new)
            return await self._role(edit.connection, new.name)

        return await self._edit(work)

    async def change_role(self, name: str, change: RoleChange, version: int) -> RoleView:
        async def work(edit: AccessEdit) -> RoleView:
            await own_roles.change(edit, name, change, expected=ExpectedVersion(version=version))
            return await self._role(edit.connection, name)

        return await self._edit(work)

    async def delete_role(self, name: str, version: int, reason: str) -> None:
        expected = ExpectedVersion(version=version)
        await self._edit(
            lambda edit: own_roles.delete(edit, name, expected=expected, reason=reason)
        )

    async def list_grants(self, matching: GrantFilter) -> list[GrantView]:
        found: list[GrantView] = []
        after: str | None = ""
        async with self._database.connection() as connection:
            while after is not None:
                page = await grants.list_page(
                    *(connection, token_key(self._settings), OPERATOR_RIGHTS, matching),
                    after=after,
                    limit=_PAGE,
                )
                found += page.items
                after = page.next
        return found

    async def get_grant(self, id_: str) -> GrantView:
        async with self._database.connection() as connection:
            grant = await grants.find(connection, OPERATOR_RIGHTS, id_)
            key = token_key(self._settings)
            return (await grants.grant_views(connection, key, [grant]))[0]

    async def create_grant(self, new: NewGrant) -> GrantView:
        async def work(edit: AccessEdit) -> GrantView:
            grant = await grants.create(edit, new)
            return (await grants.grant_views(edit.connection, edit.key, [grant]))[0]

        return await self._edit(work)

    async def revoke_grant(self, id_: str, reason: str) -> None:
        await self._edit(lambda edit: grants.revoke(edit, id_, reason=reason))

    async def list_access_changes(
        self, event: AccessEventName | None, subject: str | None, *, limit: int
    ) -> list[AccessChange]:
        async with self._database.connection() as connection:
            page = await history.list_page(
                *(connection, OPERATOR_RIGHTS),
                before=LATEST,
                limit=limit,
                event=event,
                subject=subject,
            )
        return page.items

    async def list_projects(self) -> list[ProjectView]:
        async with self._database.connection() as connection:
            found = await projects.list_visible(connection, OPERATOR_RIGHTS)
            return await projects.project_views(connection, token_key(self._settings), found)

    async def get_project(self, name: str) -> ProjectView:
        async with self._database.connection() as connection:
            return await self._project(connection, name)

    async def create_project(self, new: NewProject) -> ProjectView:
        async def work(edit: AccessEdit) -> ProjectView:
            await projects.create(edit, new)
            return await self._project(edit.connection, new.name)

        return await self._edit(work)

    async def change_project(self, name: str, change: ProjectChange, version: int) -> ProjectView:
        async def work(edit: AccessEdit) -> ProjectView:
            await projects.change(edit, name, change, expected=ExpectedVersion(version=version))
            return await self._project(edit.connection, name)

        return await self._edit(work)

    async def delete_project(self, name: str, version: int, reason: str) -> None:
        expected = ExpectedVersion(version=version)
        await self._edit(lambda edit: projects.delete(edit, name, expected=expected, reason=reason))

    async def who_may(self, scope: Scope, environment: str, key: str) -> Holders:
        question = Question(scope=scope, environment=environment, key=key)
        holders = Holders([], [], [])
        after: str | None = ""
        async with self._database.connection() as connection:
            await environments.get(connection, environment)
            secret = token_key(self._settings)
            book = await read_book(connection, RowSigner(secret))
            while after is not None:
                page = await explain.who_may(
                    *(connection, secret, book, OPERATOR_RIGHTS, question),
                    after=after,
                    limit=_PAGE,
                )
                # Each page has all groups and tokens.
                holders = Holders([*holders.people, *page.people], page.groups, page.tokens)
                after = page.next
        return holders

    async def check_access(
        self, actor: str, scope: Scope, environment: str, key: str
    ) -> AccessCheck:
        question = Question(scope=scope, environment=environment, key=key)
        async with self._database.connection() as connection:
            await environments.get(connection, environment)
            secret = token_key(self._settings)
            book = await read_book(connection, RowSigner(secret))
            return await explain.check(
                *(connection, secret, book, OPERATOR_RIGHTS, question), actor=actor
            )

    async def _role(self, connection: Connection, name: str) -> RoleView:
        role = await own_roles.get(connection, name)
        return (await own_roles.role_views(connection, token_key(self._settings), [role]))[0]

    async def _project(self, connection: Connection, name: str) -> ProjectView:
        project = await projects.get(connection, OPERATOR_RIGHTS, name)
        return (await projects.project_views(connection, token_key(self._settings), [project]))[0]

    async def _edit(self, work: Callable[[AccessEdit], Awaitable[Result]]) -> Result:
        return await self._database.transact(lambda c: work(self._access_edit(c)))
