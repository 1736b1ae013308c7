"""Calls of the API that make grants and limited administrators, for the tests of access."""

from typing import Any

from aiohttp import ClientResponse

from app.access.models import PERSONAL_SCOPES
from tests.conftest import Service

GRANTS = "/v1/grants"
NEW_GRANT = {
    "group": "platform",
    "role": "editor",
    "environments": ["local"],
    "prefix": "payments/",
    "reason": "They own it.",
}


async def make_grant(service: Service, **members: Any) -> dict[str, Any]:
    """Create a grant as the administrator of everything."""
    answer = await service.client.post(GRANTS, json=NEW_GRANT | members)
    assert answer.status == 201, await answer.text()
    grant: dict[str, Any] = await answer.json()
    return grant


async def problem(answer: ClientResponse, status: int) -> tuple[str, list[str]]:
    """Return the code and the fields of a refusal."""
    content = await answer.json(content_type=None)
    assert answer.status == status, content
    return content["code"], [error["field"] for error in content.get("errors", [])]


async def limited_administrator(service: Service, **members: Any) -> dict[str, str]:
    """Return the header of an administrator of keys below payments/."""
    scopes = sorted(PERSONAL_SCOPES)
    body = {"name": "a", "scopes": scopes, "environments": ["*"], "prefixes": ["payments/"]}
    answer = await service.client.post("/v1/tokens", json=body | members)
    assert answer.status == 201, await answer.text()
    return {"X-API-Key": (await answer.json())["text"]}
