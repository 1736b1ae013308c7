"""Several people propose, review, schedule and apply changes of a protected environment."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from app.access.token_views import IssuedToken
from app.configuration.proposals.views import ProposalPage, ProposalSummary, ProposalView
from tests.process.history.cluster import Replica
from tests.process.history.records import Action, Entry
from tests.process.history.traffic import Answer, Traffic
from tests.process.history.wishes import PROTECTED

PEOPLE = 5
APPROVALS = 2
# Few, so that proposals become stale.
KEYS = tuple(f"pay/{n}" for n in range(6))
PROTECTING = "protect"
_PROPOSALS = "/v1/proposals"
_PAUSE_SECONDS = 0.05
_DIRECT_WRITES = 0.05
_MENDS = 0.5
# The most proposals in review, so that people meet at one of them.
_IN_REVIEW_MAX = 6
# A person prefers proposals that can be applied.
_WEIGHTS = {"open": 1, "approved": 4, "scheduled": 2}
# What a person does with a proposal, by its state, with the weight of each choice.
_CHOICES: Mapping[str, Mapping[str, int]] = {
    "open": {"approve": 12, "edit": 1, "reject": 1, "withdraw": 1, "apply": 1},
    "approved": {"apply": 4, "schedule": 6, "edit": 1, "approve": 1},
    "scheduled": {"approve": 2, "unschedule": 1, "apply": 1, "edit": 1},
}


@dataclass(frozen=True)
class Token:
    text: str
    actor: str


async def protect(traffic: Traffic) -> Sequence[Token]:
    """Protect the environment, and return a token for each person."""
    replica = traffic.cluster.replicas[0]
    body: Any = {"protection": {"approvals": APPROVALS}, "message": PROTECTING}
    path = f"/v1/environments/{PROTECTED}"
    answer, _ = await traffic.ask(replica, "PATCH", path, headers={"If-Match": "*"}, body=body)
    assert answer.status == 200, answer
    return [await _token(traffic, replica, f"person {n}") for n in range(PEOPLE)]


async def _token(traffic: Traffic, replica: Replica, name: str) -> Token:
    body = {"name": name, "scopes": ["read", "write", "approve"], "environments": [PROTECTED]}
    answer, _ = await traffic.ask(replica, "POST", "/v1/tokens", body=body)
    assert answer.status == 201, answer
    new = msgspec.json.decode(answer.body, type=IssuedToken)
    return Token(new.text, f"token:{new.token.id}")


class Person:
    """Proposes changes, and approves, schedules, edits and applies those that are in review."""

    def __init__(self, name: str, token: Token, traffic: Traffic, seed: str) -> None:
        self._name = name
        self._token = token
        self._traffic = traffic
        self._chance = random.Random(f"{seed}/{name}")  # noqa: S311 - to be repeated
        self._count = 0
        # Versions of proposals that this person has approved.
        self._approved: set[tuple[int, int]] = set()

    async def run(self) -> None:
        while not self._traffic.ended.is_set():
            if self._chance.random() < _DIRECT_WRITES:
                await self._write_directly()
            proposals = await self._in_review()
            if proposals is not None and len(proposals) < _IN_REVIEW_MAX:
                await self._propose()
            if proposals:
                weights = [_WEIGHTS[proposal.state] for proposal in proposals]
                (proposal,) = self._chance.choices(proposals, weights)
                await self._review(proposal)
            await asyncio.sleep(self._chance.uniform(0, 2 * _PAUSE_SECONDS))

    async def _in_review(self) -> list[ProposalSummary] | None:
        states = "open,approved,scheduled"
        answer, _ = await self._ask("GET", f"{_PROPOSALS}?state={states}&limit=20")
        if answer.status != 200:
            return None
        return msgspec.json.decode(answer.body, type=ProposalPage).items

    async def _propose(self) -> None:
        if (operations := await self._operations()) is not None:
            body = {"title": self._next_name(), "operations": operations}
            await self._act("create", 0, "POST", _PROPOSALS, body)

    async def _operations(self) -> list[dict[str, Any]] | None:
        """Return operations on the present entries, or None if they cannot be read."""
        replica = self._anyone()
        read = await self._traffic.read(self._name, replica, PROTECTED)
        if read.status != 200:
            return None
        keys = self._chance.sample(KEYS, self._chance.choice((1, 1, 2)))
        return [self._operation(key, read.entries.get(key)) for key in keys]

    def _operation(self, key: str, entry: Entry | None) -> dict[str, Any]:
        version = entry.version if entry else 0
        operation = {"environment": PROTECTED, "key": key, "version": version}
        if entry and self._chance.random() < 0.15:
            return {"op": "delete", **operation}
        return {"op": "put", "value": self._next_name(), **operation}

    async def _review(self, proposal: ProposalSummary) -> None:
        choices = _CHOICES[proposal.state]
        (choice,) = self._chance.choices(list(choices), list(choices.values()))
        approval = (proposal.id, proposal.version)
        if choice == "approve" and (
            approval in self._approved or proposal.author == self._token.actor
        ):
            return
        if choice == "edit":
            await self._edit(proposal)
            return
        path = f"{_PROPOSALS}/{proposal.id}"
        headers = {"If-Match": f'"{proposal.version}"'}
        body: Any = {"reason": "No"} if choice == "reject" else {}
        if choice == "schedule":
            at = datetime.now(UTC) + timedelta(seconds=self._chance.uniform(-1, 3))
            body = {"apply_at": at.isoformat(), "expires_after_seconds": self._patience()}
        if choice == "unschedule":
            body = {"apply_at": None}
        verb = "schedule" if choice == "unschedule" else choice
        status = await self._act(choice, proposal.id, "POST", f"{path}/{verb}", body, headers)
        if choice == "approve" and status == 200:
            self._approved.add(approval)
        elif status == 409 and self._chance.random() < _MENDS:
            await self._edit(proposal)  # it is probably stale

    async def _edit(self, proposal: ProposalSummary) -> None:
        if (operations := await self._operations()) is not None:
            path, headers = f"{_PROPOSALS}/{proposal.id}", {"If-Match": f'"{proposal.version}"'}
            body = {"operations": operations}
            await self._act("edit", proposal.id, "PATCH", path, body, headers)

    def _patience(self) -> int:
        return self._chance.choice((1, 5, 3_600))

    async def _write_directly(self) -> None:
        """Write without a proposal, which must be refused."""
        body = {"value": self._next_name()}
        path = f"/v1/environments/{PROTECTED}/configurations/{self._chance.choice(KEYS)}"
        await self._act("write", 0, "PUT", path, body, {"If-Match": "*"})

    async def _act(
        self,
        kind: str,
        proposal: int,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        answer, attempt = await self._ask(method, path, body, headers)
        version, applied = 0, {}
        if answer.status in {200, 201} and kind != "write":
            view = msgspec.json.decode(answer.body, type=ProposalView)
            proposal, version, applied = view.id, view.version, view.applied or {}
        self._traffic.records.append(
            Action(
                kind=kind,
                actor=self._token.actor,
                proposal=proposal,
                version=version,
                started=attempt.started,
                ended=attempt.ended,
                status=answer.status,
                applied=applied,
            )
        )
        return answer.status

    async def _ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, Any]:
        authorization = {"Authorization": f"Bearer {self._token.text}"}
        return await self._traffic.ask(
            self._anyone(), method, path, headers={**authorization, **(headers or {})}, body=body
        )

    def _next_name(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"

    def _anyone(self) -> Replica:
        return self._chance.choice(self._traffic.cluster.replicas)
