"""Limited tokens and people beside the last release, which knows neither.

That release must refuse them: it would grant them all keys.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from app.access.directory import REFRESH_SECONDS
from app.access.sessions.cookie import PLAIN_NAME
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

# A proxy on this machine names the person.
ENVIRONMENT = {
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "TRUSTED_USER_HEADER": "X-Forwarded-User",
    "TRUSTED_GROUPS_HEADER": "X-Forwarded-Groups",
}
_PERSON = {"X-Forwarded-User": "asha", "X-Forwarded-Groups": "upgrade"}
_PREFIX = "upgrade"
_KEYS = "/v1/environments/local/configurations"
_PAGE = "/console/environments/local/flags"
# A token's own key, a foreign key, and a page for a person. The old code may not rotate the token
# either: its successor would be for all keys.
_EXPECTED = {"new": (200, 403, 200), "old": (401, 401, 303, 409)}


@dataclass(frozen=True)
class _Issued:
    token_id: str
    text: str
    cookie: str


class LimitedRights:
    """A limited token and the session of a person, which are shown to every instance."""

    def __init__(self, client: ClientSession) -> None:
        self._client = client
        self._issued: _Issued | None = None

    async def errors(
        self, rotation: Sequence[tuple[str, Process]], admin: dict[str, str]
    ) -> AsyncIterator[str]:
        """Yield each answer of an instance that is not as expected.

        Without an instance of the new code, the last token and the last session are shown.
        """
        newest = next((process for version, process in rotation if version == "new"), None)
        if newest is not None:
            self._issued = await self._issue(newest, admin)
            await asyncio.sleep(4 * REFRESH_SECONDS)
        if self._issued is None:
            return
        for version, process in rotation:
            found = await self._statuses(process, self._issued)
            if version == "old":
                path = f"/v1/tokens/{self._issued.token_id}/rotate"
                async with self._ask(process, "POST", path, admin, json={}) as answer:
                    found = (*found, answer.status)
            if found != _EXPECTED[version]:
                yield f"limited rights at the {version} code: {found}, not {_EXPECTED[version]}"

    async def _issue(self, process: Process, admin: dict[str, str]) -> _Issued:
        body = {"name": "limited", "scopes": ["read"], "environments": ["local"]}
        token = await self._post(process, "/v1/tokens", admin, {**body, "prefixes": [_PREFIX]})
        grant = {"group": "upgrade", "role": "viewer", "environments": ["local"]}
        await self._post(process, "/v1/grants", admin, {**grant, "reason": "upgrade test"})
        path, headers = "/console/sign-in/proxy", {**_PERSON, "Origin": process.url}
        async with self._ask(process, "POST", path, headers, data={"next": "/console"}) as answer:
            assert answer.status == 303, await answer.text()
            cookie = answer.cookies[PLAIN_NAME].value
        return _Issued(token["token"]["id"], token["text"], cookie)

    async def _post(
        self, process: Process, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> Any:
        async with self._ask(process, "POST", path, headers, json=body) as answer:
            # 409: the grant of an earlier phase.
            assert answer.status in {201, 409}, await answer.text()
            return await answer.json()

    async def _statuses(self, process: Process, issued: _Issued) -> tuple[int, ...]:
        limited = {"Authorization": f"Bearer {issued.text}"}
        person = {**_PERSON, "Cookie": f"{PLAIN_NAME}={issued.cookie}"}
        asked = (
            self._ask(process, "GET", f"{_KEYS}/upgrade", limited),
            self._ask(process, "GET", f"{_KEYS}/client/0", limited),
            self._ask(process, "GET", _PAGE, person),
        )
        statuses = []
        for request in asked:
            async with request as answer:
                statuses.append(answer.status)
        return tuple(statuses)

    def _ask(
        self, process: Process, method: str, path: str, headers: dict[str, str], **body: Any
    ) -> AbstractAsyncContextManager[ClientResponse]:
        return self._client.request(
            method,
            process.url + path,
            headers=headers,
            allow_redirects=False,
            # The first request to the console imports its pages.
            timeout=ClientTimeout(total=HANG_SECONDS),
            **body,
        )
