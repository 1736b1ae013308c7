"""An environment of two teams, and a token for the keys of one of them.

Everything that belongs to the other team contains the word in FOREIGN. The own flag uses a segment
and a flag of the other team, so the keys of these two may be shown, and nothing else.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, hdrs

from app.access.models import Scope
from tests.conftest import Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
CONSOLE = "/console/environments/local"
FOREIGN = "tresor"
SECRET_RULE = {"==": [{"var": "vault"}, FOREIGN]}
CHECKOUT = flag(
    defaultVariant="off",
    prerequisites=[{"flag": "common/switch", "variant": "on"}],
    targeting={"if": [{"and": [{"$ref": "shop/staff"}, {"!": [{"$ref": "common/vip"}]}]}, "on"]},
)
OWN: Mapping[str, tuple[str, Any]] = {
    "shop/staff": ("segment", {"ends_with": [{"var": "email"}, "@example.org"]}),
    "shop/checkout": ("flag", CHECKOUT),
    "shop/banner": ("flag", flag(defaultVariant="on")),
    "shop/limit": ("setting", 5),
}
# They sort before, between and after the own ones.
THEIRS: Mapping[str, tuple[str, Any]] = {
    "common/vip": ("segment", SECRET_RULE),
    "common/switch": (
        "flag",
        {
            "state": "ENABLED",
            "variants": {"on": FOREIGN, f"{FOREIGN}-off": "0"},
            "defaultVariant": "on",
            "targeting": {"if": [{"==": [{"var": "vault"}, FOREIGN]}, f"{FOREIGN}-off", "on"]},
        },
    ),
    "a-tresor/flag": ("flag", flag(defaultVariant="on", targeting={"if": [SECRET_RULE, "on"]})),
    "shop-tresor": ("setting", FOREIGN),
    "shopping-tresor/flag": (
        "flag",
        flag(defaultVariant="off", targeting={"if": [{"$ref": "shop/staff"}, "on"]}),
    ),
    "z-tresor/segment": ("segment", {"and": [{"$ref": "shop/staff"}, SECRET_RULE]}),
    "z-tresor/text": ("setting", FOREIGN),
}
SHOWN = ("common/vip", "common/switch")


def put(key: str, kind: str, value: Any, version: int = 0) -> dict[str, Any]:
    description = None if key.startswith("shop/") else FOREIGN
    operation = {"op": "put", "key": key, "version": version, "kind": kind, "value": value}
    return {**operation, "description": description}


async def change(service: Service, *operations: dict[str, Any], message: str = "") -> int:
    """Write a change set as an administrator, and return its revision."""
    body = {"operations": operations, "message": message}
    async with service.client.post(f"{LOCAL}/changes", json=body) as answer:
        assert answer.status == 200, await answer.text()
        (change_set,) = (await answer.json())["change_sets"]
        return int(change_set["revision"])


async def fill(service: Service) -> None:
    """Write the entries of both teams: own ones, those of others, and one change of both."""
    theirs = [put(key, *content) for key, content in THEIRS.items()]
    own = [put(key, *content) for key, content in OWN.items() if key != "shop/limit"]
    await change(service, *own[:1], *theirs, *own[1:], message="both teams")
    await change(service, put("shop/limit", "setting", 4), message="own")
    await change(service, put("shop/limit", "setting", 5, 1), message="own again")


async def change_theirs(service: Service) -> None:
    """Change, add and delete entries of the other team. No outcome of an own flag changes."""
    delete = {"op": "delete", "key": "shop-tresor", "version": 1}
    await change(
        service,
        put("a-tresor/flag", "flag", flag(defaultVariant="off"), 1),
        put("a-tresor/new", "flag", flag(defaultVariant="off")),
        put("shop-tresor-2", "setting", FOREIGN),
        put("z-tresor/segment", "segment", SECRET_RULE, 1),
        delete,
        message=FOREIGN,
    )


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    etag: str | None
    headers: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def is_free_of_foreign(self) -> bool:
        return FOREIGN not in f"{self.headers}{self.text}".lower()

    def at_any(self, revision: int) -> str:
        """Return the answer without the revision of the environment, which readers know."""
        return re.sub(rf"\b(revision\W{{1,3}}){revision}\b", r"\1N", self.text)


@dataclass(frozen=True, kw_only=True)
class Limited:
    """The holder of a token for the keys below `shop/`."""

    service: Service
    token: str

    @classmethod
    async def of(
        cls, service: Service, *scopes: Scope, prefixes: tuple[str, ...] = ("shop/",)
    ) -> "Limited":
        token = await service.token(
            *(scopes or (Scope.READ, Scope.EVALUATE)), environments=("local",), prefixes=prefixes
        )
        return cls(service=service, token=token)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        shown = {"Authorization": f"Bearer {self.token}"}
        shown |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.service.stranger.request(
            method, path, json=body, headers=shown, allow_redirects=False
        ) as answer:
            return await answer_of(answer)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.call("POST", path, body, **headers)


async def answer_of(response: ClientResponse) -> Answer:
    return Answer(
        status=response.status,
        text=await response.text(),
        etag=response.headers.get(hdrs.ETAG),
        headers=str(response.headers),
    )
