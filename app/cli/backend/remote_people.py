"""The operations of commands on people, roles, grants and projects of a server, by its HTTP API."""

from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from app.access.models import Scope
from app.access.people.edit import AccessEventName
from app.access.people.grants import GrantFilter
from app.access.people.views import (
    AccessChange,
    AccessCheck,
    AccessHistoryPage,
    GrantPage,
    GrantView,
    NewGrant,
    NewProject,
    NewRole,
    PersonPage,
    PersonView,
    ProjectChange,
    ProjectList,
    ProjectView,
    RoleChange,
    RoleList,
    RoleView,
    SuspensionRequest,
    WhoMay,
)
from app.cli.backend.http_client import HttpClient
from app.cli.backend.people_interface import Holders


class RemotePeople:
    """The operations as requests. The actor is the token."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def list_people(self, search: str | None, group: str | None) -> list[PersonView]:
        pages = self._client.pages(_path("people"), PersonPage, search=search, group=group)
        return [person async for page in pages for person in page.items]

    async def get_person(self, id_: str) -> PersonView:
        return await self._client.get(_path("people", id_), PersonView)

    async def suspend_person(self, id_: str, reason: str) -> PersonView:
        return await self._post(_path("people", id_, "suspend"), PersonView, reason)

    async def restore_person(self, id_: str, reason: str) -> PersonView:
        return await self._post(_path("people", id_, "restore"), PersonView, reason)

    async def list_roles(self) -> list[RoleView]:
        return (await self._client.get(_path("roles"), RoleList)).items

    async def get_role(self, name: str) -> RoleView:
        return await self._client.get(_path("roles", name), RoleView)

    async def create_role(self, new: NewRole) -> RoleView:
        return await self._client.write("POST", _path("roles"), RoleView, body=new)

    async def change_role(self, name: str, change: RoleChange, version: int) -> RoleView:
        return await self._client.write(
            "PUT", _path("roles", name), RoleView, body=change, headers=_if_match(version)
        )

    async def delete_role(self, name: str, version: int, reason: str) -> None:
        await self._delete(_path("roles", name), RoleView, reason, _if_match(version))

    async def list_grants(self, matching: GrantFilter) -> list[GrantView]:
        pages = self._client.pages(_path("grants"), GrantPage, **asdict(matching))
        return [grant async for page in pages for grant in page.items]

    async def get_grant(self, id_: str) -> GrantView:
        return await self._client.get(_path("grants", id_), GrantView)

    async def create_grant(self, new: NewGrant) -> GrantView:
        return await self._client.write("POST", _path("grants"), GrantView, body=new)

    async def revoke_grant(self, id_: str, reason: str) -> None:
        await self._delete(_path("grants", id_), GrantView, reason)

    async def list_access_changes(
        self, event: AccessEventName | None, subject: str | None, *, limit: int
    ) -> list[AccessChange]:
        page = await self._client.get(
            _path("access", "history"),
            AccessHistoryPage,
            access_event=event,
            subject=subject,
            limit=limit,
        )
        return page.items

    async def list_projects(self) -> list[ProjectView]:
        return (await self._client.get(_path("projects"), ProjectList)).items

    async def get_project(self, name: str) -> ProjectView:
        return await self._client.get(_path("projects", name), ProjectView)

    async def create_project(self, new: NewProject) -> ProjectView:
        return await self._client.write("POST", _path("projects"), ProjectView, body=new)

    async def change_project(self, name: str, change: ProjectChange, version: int) -> ProjectView:
        return await self._client.write(
            "PATCH", _path("projects", name), ProjectView, body=change, headers=_if_match(version)
        )

    async def delete_project(self, name: str, version: int, reason: str) -> None:
        await self._delete(_path("projects", name), ProjectView, reason, _if_match(version))

    async def who_may(self, scope: Scope, environment: str, key: str) -> Holders:
        holders = Holders([], [], [])
        pages = self._client.pages(
            _path("access", "who"), WhoMay, scope=scope, environment=environment, key=key
        )
        async for page in pages:
            # Each page has all groups and tokens.
            holders = Holders([*holders.people, *page.people], page.groups, page.tokens)
        return holders

    async def check_access(
        self, actor: str, scope: Scope, environment: str, key: str
    ) -> AccessCheck:
        query = {"actor": actor, "scope": scope, "environment": environment, "key": key}
        return await self._client.get(_path("access", "check"), AccessCheck, **query)

    async def _post(self, path: str, answer: type[PersonView], reason: str) -> PersonView:
        body = SuspensionRequest(reason=reason)
        return await self._client.write("POST", path, answer, body=body)

    async def _delete(
        self, path: str, answer: Any, reason: str, headers: dict[str, str] | None = None
    ) -> None:
        query = {"reason": reason or None}
        await self._client.write("DELETE", path, answer, query=query, headers=headers)


def _path(*parts: str) -> str:
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _if_match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}
