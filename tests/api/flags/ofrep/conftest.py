"""An OFREP client over HTTP with a token of one environment, and the flags that it evaluates."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession
from multidict import CIMultiDictProxy
from yarl import URL

from app.access.models import Scope
from app.settings import Settings
from tests.conftest import Service, serving

LOCAL = "/v1/environments/local"
FLAGS = "/ofrep/v1/evaluate/flags"
SHOP = "https://shop.example"

SWITCH = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
BY_PLAN = SWITCH | {
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]},
}
# No variant has this name.
FAILING = SWITCH | {"targeting": {"if": [True, "none"]}}
BY_CLOCK = SWITCH | {"targeting": {"if": [{">": [{"var": "$flagd.timestamp"}, 1]}, "on", "off"]}}


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/json"
        decoded: dict[str, Any] = json.loads(self.raw)
        return decoded

    @property
    def etag(self) -> str:
        return self.headers["ETag"]

    @property
    def flags(self) -> dict[str, Any]:
        """Every item of a bulk answer by its key."""
        return {item["key"]: item for item in self.body["flags"]}

    @property
    def stream(self) -> URL:
        return URL(self.body["eventStreams"][0]["url"])


@dataclass(frozen=True, kw_only=True)
class Client:
    """`base` is the path before `/ofrep`."""

    service: Service
    session: ClientSession
    token: str
    base: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """The address for requests that no client library would send."""
        url = URL(self.service.url)
        return str(url.host), int(url.port or 0)

    def head(self, path: str, body_bytes: int = 0) -> bytes:
        """Return the head of a request that ends its connection."""
        return (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Length: {body_bytes}\r\n\r\n"
        ).encode(errors="surrogateescape")

    async def one(self, key: str, body: Any = None, **sent: Any) -> Answer:
        """Evaluate one flag. The key is put into the URL without encoding."""
        return await self._post(f"{FLAGS}/{key}", body, **sent)

    async def all(self, body: Any = None, query: str = "", **sent: Any) -> Answer:
        return await self._post(FLAGS + query, body, **sent)

    async def put(self, key: str, value: Any, *, kind: str = "flag", version: int = 0) -> int:
        """Write an entry, new or over this version, and return the revision."""
        condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
        answer = await self.service.client.put(
            f"{LOCAL}/configurations/{key}", json={"value": value, "kind": kind}, headers=condition
        )
        assert answer.status in {200, 201}, await answer.text()
        return int((await answer.json())["revision"])

    async def put_unchecked(self, key: str, value: Any) -> None:
        """Store an invalid flag, which only a lenient import accepts."""
        answer = await self.service.client.post(
            f"{LOCAL}/import",
            params={"format": "flagd", "lenient": "true"},
            json={"flags": {key: value}},
        )
        assert answer.status == 200, await answer.text()

    async def _post(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None, **sent: Any
    ) -> Answer:
        """Send a body as JSON, bytes unchanged, or no body."""
        shown = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = {"Content-Type": "application/json"}
        sent_body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        data = None if sent_body is None else BytesIO(sent_body)
        url = URL(f"{self.service.url}{self.base}{path}", encoded=True)
        async with self.session.post(
            url, data=data, headers=shown | content | dict(headers or {}), **sent
        ) as answer:
            return Answer(status=answer.status, headers=answer.headers, raw=await answer.read())


async def client_of(service: Service) -> Client:
    token = await service.token(Scope.EVALUATE, environments=("local",))
    # A separate session: the service's client would decode the paths.
    return Client(service=service, session=service.stranger, token=token)


@pytest.fixture
async def ofrep(service: Service) -> Client:
    return await client_of(service)


@pytest.fixture
async def replica(service: Service, settings: Settings) -> AsyncIterator[Client]:
    """A client of a second instance on the same database."""
    del service
    async with serving(replace(settings, instance="replica")) as instance:
        yield await client_of(instance)


@pytest.fixture
async def shop(service: Service, settings: Settings) -> AsyncIterator[Client]:
    """A client of an instance behind a proxy, whose flags are for the pages of two origins."""
    del service
    http = replace(
        settings.http,
        cors_origins=(SHOP, "https://admin.example"),
        public_url="https://flags.example/base",
    )
    async with serving(replace(settings, http=http)) as instance:
        yield await client_of(instance)
