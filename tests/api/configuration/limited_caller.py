"""A caller whose rights are limited to prefixes, and a history of own and foreign keys."""

import re
from typing import Any

from app.access.models import Scope
from tests.conftest import Service

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
OWN, FOREIGN = "payments/limit", "zebra/ranking"
# Each contains a value, a message or a description that only readers of foreign keys may see.
HIDDEN = ("zebra", "okapi", "quokka")


class Caller:
    """The requests of a token. Each answer is checked for anything of a foreign key."""

    def __init__(self, service: Service, token: str) -> None:
        self._service, self._headers = service, {"X-API-Key": token}

    async def get(self, path: str, status: int = 200) -> Any:
        """Return the answer as JSON, or as text for another type.

        A refusal may name the key once that the path names.
        """
        async with self._service.stranger.get(path, headers=self._headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            seen = text + str(answer.headers)
            named = re.search(r'"detail":"(\S+) is outside of your rights\.', text)
            if named is not None and f"/{named[1]}" in path:
                seen = seen.replace(named[1], "", 1)
            assert [word for word in HIDDEN if word in seen] == [], seen
            is_json = "json" in answer.content_type
            return await answer.json(content_type=None) if is_json else text


def put(key: str, value: Any, version: int = 0, **members: Any) -> dict[str, Any]:
    return {"op": "put", "key": key, "version": version, "value": value, **members}


async def write(service: Service, message: str, *operations: Any, environment: str = LOCAL) -> None:
    body = {"message": message, "operations": operations}
    async with service.client.post(f"{environment}/changes", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def limited_caller(service: Service) -> Caller:
    """Write five revisions, and return a caller for keys below `payments/` of local.

    They change an own key, a foreign one, both, the properties, and a foreign one.
    """
    await write(service, "Start", put(OWN, 1))
    await write(service, "okapi plans", put(FOREIGN, "okapi", description="okapi"))
    await write(
        service,
        "Both",
        put(OWN, 2, 1),
        put("payments/eu/token", 7, kind="setting"),
        put(FOREIGN, "quokka", 1),
        put("zebra/other", "quokka"),
    )
    patch = {"metadata": {"owner": "platform"}}
    headers = {"If-Match": '"1"', "Content-Type": "application/merge-patch+json"}
    async with service.client.patch(LOCAL, json=patch, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    await write(service, "okapi again", put(FOREIGN, "okapi", 2))
    await write(
        service,
        "Staging",
        put(OWN, 3),
        put("payments/eu/token", 8),
        put(FOREIGN, "okapi"),
        environment=STAGING,
    )
    token = await service.token(Scope.READ, environments=("local",), prefixes=("payments/",))
    return Caller(service, token)
