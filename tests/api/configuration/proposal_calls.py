"""Calls of the API by several people, for the tests of proposals."""

from dataclasses import dataclass
from typing import Any

from app.access.models import Scope
from app.http.keys import DATABASE
from tests.conftest import Service

PROPOSALS = "/v1/proposals"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Any


@dataclass(frozen=True)
class Person:
    """A token and its calls."""

    service: Service
    token: str

    @property
    def actor(self) -> str:
        return f"token:{self.token.split('_')[2]}"

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        headers = {"X-API-Key": self.token} | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.service.stranger.request(
            method, path, json=body, headers=headers
        ) as answer:
            return Answer(answer.status, await answer.json(content_type=None), answer.headers)

    async def get(self, path: str) -> Any:
        answer = await self.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.body

    async def propose(self, *operations: dict[str, Any], **members: object) -> Any:
        """Create a proposal for `staging`, or for the environments of the operations."""
        body = {"title": "Test", "environment": "staging", "operations": operations} | members
        answer = await self.call("POST", PROPOSALS, body)
        assert answer.status == 201, answer.body
        return answer.body

    async def act(
        self, proposal: Any, action: str, version: int | None = None, **body: object
    ) -> Answer:
        """Do an action with the version of the proposal that was given."""
        seen = proposal["version"] if version is None else version
        path = f"{PROPOSALS}/{proposal['id']}/{action}"
        return await self.call("POST", path, body, If_Match=f'"{seen}"')

    async def edit(self, proposal: Any, version: int | None = None, **body: object) -> Answer:
        seen = proposal["version"] if version is None else version
        path = f"{PROPOSALS}/{proposal['id']}"
        return await self.call("PATCH", path, body, If_Match=f'"{seen}"')

    async def read(self, proposal: Any) -> Any:
        return await self.get(f"{PROPOSALS}/{proposal['id']}")

    async def value(self, key: str, environment: str = "staging") -> Any:
        """Return the value of an entry, None if there is none."""
        path = f"/v1/environments/{environment}/configurations/{key}"
        answer = await self.call("GET", path)
        return answer.body["value"] if answer.status == 200 else None


async def person(
    service: Service,
    *scopes: Scope,
    environments: tuple[str, ...] = ("*",),
    prefixes: tuple[str, ...] = ("",),
) -> Person:
    """Create a token, by default of a reviewer."""
    scopes = scopes or (Scope.READ, Scope.WRITE, Scope.APPROVE)
    token = await service.token(*scopes, environments=environments, prefixes=prefixes)
    return Person(service, token)


def put(key: str, value: object, version: int = 0, **rest: object) -> dict[str, Any]:
    return {"op": "put", "key": key, "value": value, "version": version, **rest}


def delete(key: str, version: int, **rest: object) -> dict[str, Any]:
    return {"op": "delete", "key": key, "version": version, **rest}


async def protect(service: Service, environment: str = "staging", **protection: object) -> None:
    """Protect an environment, by the administrator."""
    path = f"/v1/environments/{environment}"
    version = (await (await service.client.get(path)).json())["version"]
    headers = {"If-Match": f'"{version}"'}
    body = {"protection": protection}
    answer = await service.client.patch(path, json=body, headers=headers)
    assert answer.status == 200, await answer.text()


async def write(service: Service, *operations: dict[str, Any], environment: str = "staging") -> Any:
    """Write a change set directly, by the administrator."""
    path = f"/v1/environments/{environment}/changes"
    answer = await service.client.post(path, json={"operations": operations})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["change_sets"][0]


async def rows(service: Service, statement: str, *arguments: object) -> list[Any]:
    async with service.app[DATABASE].connection() as connection:
        return await connection.fetch(statement, *arguments)
