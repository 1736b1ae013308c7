"""Make change sets of flags and segments over HTTP."""

from typing import Any

from tests.conftest import Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
NEW = {"If-None-Match": "*"}
STAFF = {"ends_with": [{"var": "email"}, "@example.org"]}


def using(*names: str) -> dict[str, Any]:
    """Make a rule that refers to segments."""
    return {"or": [{"$ref": name} for name in names]}


def targeting(*names: str) -> dict[str, Any]:
    """Make a flag that refers to segments."""
    return flag(targeting={"if": [using(*names), "on", "off"]})


def put_segment(key: str, value: Any, version: int = 0) -> dict[str, Any]:
    return {"op": "put", "key": key, "value": value, "kind": "segment", "version": version}


def put_flag(key: str, value: Any, version: int = 0) -> dict[str, Any]:
    return {"op": "put", "key": key, "value": value, "kind": "flag", "version": version}


def delete(key: str, version: int = 1) -> dict[str, Any]:
    return {"op": "delete", "key": key, "version": version}


async def change(
    service: Service, *operations: dict[str, Any], place: str = LOCAL
) -> tuple[int, Any]:
    return await post(service, f"{place}/changes", {"operations": operations})


async def post(service: Service, path: str, body: Any) -> tuple[int, Any]:
    answer = await service.client.post(path, json=body)
    return answer.status, await answer.json()


def errors_of(problem: Any) -> list[tuple[str, str]]:
    return [(error["field"], error["rule"]) for error in problem["errors"]]
