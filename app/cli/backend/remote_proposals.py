"""The operations of commands on proposals of a server, by its HTTP API."""

from collections.abc import Sequence
from typing import Any

from app.cli.backend.remote_people import RemotePeople
from app.configuration.proposals.requests import (
    Comment,
    NewProposal,
    ProposalPatch,
    ProposalRemark,
    ProposalSchedule,
    Rejection,
)
from app.configuration.proposals.states import ProposalState
from app.configuration.proposals.views import ProposalPage, ProposalSummary, ProposalView

_PATH = "/v1/proposals"
_PAGE = 500


class RemoteProposals(RemotePeople):
    """The operations as requests. The actor is the token."""

    async def list_proposals(
        self, states: Sequence[ProposalState], environment: str | None
    ) -> list[ProposalSummary]:
        query = {"state": ",".join(states), "environment": environment, "limit": _PAGE}
        return (await self._client.get(_PATH, ProposalPage, **query)).items

    async def get_proposal(self, id_: int) -> ProposalView:
        return await self._client.get(f"{_PATH}/{id_}", ProposalView)

    async def create_proposal(self, new: NewProposal) -> ProposalView:
        return await self._client.write("POST", _PATH, ProposalView, body=new)

    async def edit_proposal(self, id_: int, patch: ProposalPatch, version: int) -> ProposalView:
        return await self._client.write(
            "PATCH", f"{_PATH}/{id_}", ProposalView, body=patch, headers=_if_match(version)
        )

    async def submit_proposal(self, id_: int, text: str) -> ProposalView:
        return await self._step(id_, "submit", ProposalRemark(text=text))

    async def approve_proposal(self, id_: int, text: str, version: int) -> ProposalView:
        return await self._step(id_, "approve", ProposalRemark(text=text), version)

    async def reject_proposal(self, id_: int, reason: str) -> ProposalView:
        return await self._step(id_, "reject", Rejection(reason=reason))

    async def comment_on_proposal(self, id_: int, text: str) -> ProposalView:
        return await self._step(id_, "comment", Comment(text=text))

    async def withdraw_proposal(self, id_: int, text: str) -> ProposalView:
        return await self._step(id_, "withdraw", ProposalRemark(text=text))

    async def schedule_proposal(
        self, id_: int, schedule: ProposalSchedule, version: int
    ) -> ProposalView:
        return await self._step(id_, "schedule", schedule, version)

    async def apply_proposal(self, id_: int, text: str, version: int) -> ProposalView:
        return await self._step(id_, "apply", ProposalRemark(text=text), version)

    async def _step(
        self, id_: int, step: str, body: Any, version: int | None = None
    ) -> ProposalView:
        headers = None if version is None else _if_match(version)
        path = f"{_PATH}/{id_}/{step}"
        return await self._client.write("POST", path, ProposalView, body=body, headers=headers)


def _if_match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}
