"""A repeated write gets its first answer, even if its check would refuse it now."""

from typing import Any

import pytest

from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.write_requests import CHECKS
from tests.conftest import Service

LOCAL = "/v1/environments/local"
NEW = {"If-None-Match": "*"}
# Such a schema needs a checker process.
ENTRY = {"value": "2026-01-31", "schema": {"type": "string", "format": "date"}}
WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "put": ("PUT", "/configurations/day", ENTRY),
    "changes": (
        "POST",
        "/changes",
        {"operations": [ENTRY | {"op": "put", "key": "day", "version": 0}]},
    ),
    "import": (
        "POST",
        "/import",
        {"flagstone": 1, "entries": {"day": ENTRY | {"kind": "setting", "sealed": False}}},
    ),
}


@pytest.mark.parametrize("way", WRITES)
async def test_repeat_is_answered_when_its_check_fails(service: Service, way: str) -> None:
    closed = ContentChecks()
    await closed.close()
    method, path, body = WRITES[way]
    headers = {"Idempotency-Key": "once"} | (NEW if method == "PUT" else {})

    async def write(key: str) -> tuple[int, Any]:
        answer = await service.client.request(
            method, LOCAL + path, json=body, headers=headers | {"Idempotency-Key": key}
        )
        return answer.status, await answer.json(content_type=None)

    first = await write("once")
    with service.using(CHECKS, closed):
        again = await write("once")
        other = await write("other")

    assert first[0] < 300, first
    assert again == first
    assert (other[0], other[1]["code"]) == (503, "busy")
