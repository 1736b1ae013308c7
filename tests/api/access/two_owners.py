"""Environments with the entries of two owners, in which a leak between them shows.

The keys, values and texts of the other owner contain a marker. One own flag refers to a segment of
the other owner, so that key has no marker; its content has one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from tests.conftest import Service
from tests.factories import flag

OWN, OTHER = "shop/", "zqx/"
MARKER = "zqx"
SHARED = "common/testers"
ENVIRONMENTS = ("local", "staging")
# The own change sets before all others. So no revision is equal to a small count.
PADDING = 60
_CSV = {"Content-Type": "text/csv", "If-None-Match": "*"}


@dataclass(frozen=True)
class Owner:
    """Writes entries below a prefix, with a word in everything that is written."""

    service: Service
    prefix: str
    word: str
    token: str

    async def call(self, method: str, path: str, **others: Any) -> Any:
        headers = {"X-API-Key": self.token} | others.pop("headers", {})
        request = self.service.stranger.request(method, path, headers=headers, **others)
        async with request as answer:
            assert answer.status < 300, (path, await answer.text())
            return await answer.json(content_type=None)

    async def change(self, environment: str, *operations: Any, message: str = "") -> int:
        body = {"operations": operations, "message": message or f"{self.word} message"}
        applied = await self.call("POST", f"/v1/environments/{environment}/changes", json=body)
        revision: int = applied["change_sets"][0]["revision"]
        return revision

    def entry(self, name: str, kind: str, value: Any, version: int = 0) -> dict[str, Any]:
        return {
            "op": "put",
            "key": f"{self.prefix}{name}",
            "version": version,
            "kind": kind,
            "value": value,
            "description": f"{self.word} description",
        }

    async def fill(self, environment: str, part: str = "") -> None:
        """Write an entry of each kind, change some, and evaluate and propose changes."""
        word = self.word
        rule = {"==": [{"var": f"{word}attribute"}, f"{word}value"]}
        plain = flag(
            defaultVariant=f"{word}off",
            variants={f"{word}on": f"{word}1", f"{word}off": f"{word}0"},
            targeting={"if": [{"$ref": f"{self.prefix}segment{part}"}, f"{word}on"]},
            owner=f"{word}owner",
        )
        await self.change(
            environment,
            self.entry(f"segment{part}", "segment", rule),
            self.entry(f"setting{part}", "setting", {f"{word}member": f"{word}value"}),
            self.entry(f"flag{part}", "flag", plain),
            self.entry(f"planned{part}", "flag", _planned(word)),
            self.entry(f"secret{part}", "secret", f"{word}secret"),
        )
        await self.change(environment, self.entry(f"setting{part}", "setting", f"{word}2", 1))
        await self.change(
            environment,
            self.entry(f"gone{part}", "setting", f"{word}gone"),
        )
        await self.change(
            environment,
            {"op": "delete", "key": f"{self.prefix}gone{part}", "version": 1},
        )
        at = f"/v1/environments/{environment}"
        await self.call(
            "PUT",
            f"{at}/lists/{self.prefix}list{part}",
            data=f"{word}member1\n{word}member2\n",
            params={"description": f"{word} list", "message": f"{word} upload"},
            headers=_CSV,
        )
        for _ in range(2):
            await self.call(
                "POST", f"{at}/ofrep/v1/evaluate/flags/{self.prefix}flag{part}", json={}
            )
        await self.propose(
            f"{word} title", environment, self.entry(f"setting{part}", "setting", f"{word}3", 2)
        )

    async def propose(self, title: str, environment: str, *operations: Any) -> None:
        """Create a proposal, and comment on it."""
        body = {
            "title": title,
            "message": f"{self.word} reason",
            "environment": environment,
            "operations": operations,
        }
        created = await self.call("POST", "/v1/proposals", json=body)
        comment = {"text": f"{self.word} comment"}
        await self.call("POST", f"/v1/proposals/{created['id']}/comment", json=comment)


def _planned(word: str) -> dict[str, Any]:
    later = datetime.now(UTC) + timedelta(days=30)
    step = {"at": later.strftime("%Y-%m-%dT00:00:00Z"), "rollout": {"variant": "on", "percent": 50}}
    return flag(defaultVariant="off", plan={"name": f"{word} launch", "steps": [step]})


async def owner_of(service: Service, prefix: str, word: str) -> Owner:
    """Return an owner whose token is for all keys, named by the word."""
    body = {
        "name": f"{word} team",
        "scopes": [scope for scope in Scope if scope not in {Scope.RELAY, Scope.PUBLISH}],
        "environments": ["*"],
    }
    async with service.client.post("/v1/tokens", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return Owner(service, prefix, word, (await answer.json())["text"])


async def fill(service: Service) -> Owner:
    """Write the entries of both owners, and some that belong to both. Return the other owner."""
    own, other = await owner_of(service, OWN, "own"), await owner_of(service, OTHER, MARKER)
    for environment in ENVIRONMENTS:
        for number in range(PADDING):
            await own.change(environment, own.entry("padding", "setting", number, number))
    await other.change(
        "local",
        {
            "op": "put",
            "key": SHARED,
            "version": 0,
            "kind": "segment",
            "value": {"==": [{"var": f"{MARKER}attribute"}, f"{MARKER}value"]},
            "description": f"{MARKER} testers",
        },
    )
    for environment in ENVIRONMENTS:
        await other.fill(environment)
        await own.fill(environment)
    referring = flag(defaultVariant="off", targeting={"if": [{"$ref": SHARED}, "on"]})
    await own.change("local", own.entry("referring", "flag", referring))
    dependent = flag(defaultVariant="off", targeting={"if": [{"$ref": f"{OWN}segment"}, "on"]})
    await other.change("local", other.entry("dependent", "flag", dependent))
    await own.change(
        "local",
        own.entry("setting", "setting", "both", 2),
        other.entry("setting", "setting", f"{MARKER}both", 2),
        message="Both",
    )
    for version, variant in ((1, "on"), (2, "off")):
        value = referring | {"defaultVariant": variant}
        await own.change("local", own.entry("referring", "flag", value, version))
    await own.propose(
        "Both",
        "local",
        own.entry("setting", "setting", "proposed", 3),
        other.entry("setting", "setting", f"{MARKER}proposed", 3),
    )
    await service.app[FOLLOWER].refresh()
    return other
