"""The operations of commands on proposals, on the database."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from app.access.local_credentials import token_key
from app.access.permissions import OPERATOR_RIGHTS
from app.cli.actor import operator, origin
from app.cli.backend.local_people import LocalPeople
from app.configuration.changes.intents import intents_of
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import AnyOperation, NewChangeSet
from app.configuration.proposals import editing, service, store, trial
from app.configuration.proposals.models import Proposal, unstored
from app.configuration.proposals.requests import (
    NewProposal,
    ProposalPatch,
    ProposalSchedule,
)
from app.configuration.proposals.states import Action, ProposalState, after
from app.configuration.proposals.trial import Checked, Trial
from app.configuration.proposals.views import ProposalSummary, ProposalView, summaries, view
from app.database import Connection
from app.http.conditions import ExpectedVersion
from app.http.writes import transact
from app.scripts import Resources

_LIMIT = 500


class LocalProposals(LocalPeople):
    """The operations on proposals. The actor is the operator's account, with every scope."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self._vault = resources.vault
        self._checkers = resources.checkers
        self._key = token_key(resources.settings)
        self._operator = service.Actor(
            name=operator(),
            rights=OPERATOR_RIGHTS,
            key=self._key,
            origin=origin(),
            log=resources.access_log,
        )

    async def list_proposals(
        self, states: Sequence[ProposalState], environment: str | None
    ) -> list[ProposalSummary]:
        async with self._database.connection() as connection:
            return await summaries(
                *(connection, OPERATOR_RIGHTS),
                states=states,
                page_size=_LIMIT,
                environment=environment,
            )

    async def get_proposal(self, id_: int) -> ProposalView:
        async with self._database.connection() as connection:
            proposal = await store.find(connection, id_)
            return await view(connection, self._key, proposal, OPERATOR_RIGHTS)

    async def create_proposal(self, new: NewProposal) -> ProposalView:
        operations = editing.with_environments(new.operations, new.environment)
        new = msgspec.structs.replace(new, operations=operations)
        ready = Checked(proposal=unstored(new), intents=self._intents(operations))
        tried = None if new.draft else await self._try_out(ready)
        return await self._run(lambda c: service.create(c, self._vault, new, tried, self._operator))

    async def edit_proposal(self, id_: int, patch: ProposalPatch, version: int) -> ProposalView:
        async with self._database.connection() as connection:
            proposal = await store.find(connection, id_)
            state = after(Action.EDIT, proposal.state)
            values = await store.secret_values(connection, self._vault, proposal)
        edited = editing.edited(proposal, patch, values)
        ready = Checked(proposal=edited, intents=self._intents(edited.operations))
        tried = None if state is ProposalState.DRAFT else await self._try_out(ready)

        async def work(connection: Connection) -> int:
            await service.edit(
                *(connection, self._vault, proposal, edited, tried, self._operator),
                expected=ExpectedVersion(version=version),
            )
            return id_

        return await self._run(work)

    async def submit_proposal(self, id_: int, text: str) -> ProposalView:
        ready = await self._checked(id_, Action.SUBMIT)
        tried = await self._try_out(ready)
        return await self._change(
            id_, lambda c: service.submit(c, ready.proposal, tried, self._operator, text)
        )

    async def approve_proposal(self, id_: int, text: str, version: int) -> ProposalView:
        ready = await self._checked(id_, Action.APPROVE)
        tried = await self._try_out(ready)
        expected = ExpectedVersion(version=version)
        return await self._change(
            id_,
            lambda c: service.approve(
                c, ready.proposal, tried, self._operator, text, expected=expected
            ),
        )

    async def reject_proposal(self, id_: int, reason: str) -> ProposalView:
        return await self._change(id_, lambda c: service.reject(c, id_, self._operator, reason))

    async def comment_on_proposal(self, id_: int, text: str) -> ProposalView:
        return await self._change(id_, lambda c: service.comment(c, id_, self._operator, text))

    async def withdraw_proposal(self, id_: int, text: str) -> ProposalView:
        return await self._change(id_, lambda c: service.withdraw(c, id_, self._operator, text))

    async def schedule_proposal(
        self, id_: int, schedule: ProposalSchedule, version: int
    ) -> ProposalView:
        expected, apply_at = ExpectedVersion(version=version), schedule.apply_at
        if apply_at is None:
            return await self._change(
                id_, lambda c: service.unschedule(c, id_, self._operator, expected=expected)
            )
        ready = await self._checked(id_, Action.SCHEDULE)
        tried = await self._try_out(ready)
        return await self._change(
            id_,
            lambda c: service.schedule(
                *(c, ready.proposal, tried, self._operator),
                expected=expected,
                apply_at=apply_at,
                expires_after_seconds=schedule.expires_after_seconds,
            ),
        )

    async def apply_proposal(self, id_: int, text: str, version: int) -> ProposalView:
        ready = await self._checked(id_, Action.APPLY)
        expected = ExpectedVersion(version=version)
        return await self._change(
            id_,
            lambda c: service.apply(
                c, ready, self._vault, self._operator, expected=expected, text=text
            ),
        )

    def _intents(self, operations: Sequence[AnyOperation]) -> Mapping[str, Intent]:
        with self._checkers.request() as check:
            return intents_of(NewChangeSet(operations=list(operations)), "", check)

    async def _checked(self, id_: int, action: Action) -> Checked:
        async with self._database.connection() as connection:
            proposal: Proposal = await store.find(connection, id_)
            after(action, proposal.state)
            operations = await store.open_secrets(connection, self._vault, proposal)
        return Checked(proposal=proposal, intents=self._intents(operations))

    async def _try_out(self, ready: Checked) -> Trial:
        """Try a proposal, and roll back. Raises what a write would raise."""
        tried = await transact(
            self._database,
            lambda c: trial.try_out(
                c, ready, actor=operator(), rights=OPERATOR_RIGHTS, vault=self._vault
            ),
            dry_run=True,
        )
        tried.check(ready.proposal, OPERATOR_RIGHTS)
        return tried

    async def _change(
        self, id_: int, work: Callable[[Connection], Awaitable[object]]
    ) -> ProposalView:
        async def change(connection: Connection) -> int:
            await work(connection)
            return id_

        return await self._run(change)

    async def _run(self, work: Callable[[Connection], Awaitable[int]]) -> ProposalView:
        async def run(connection: Connection) -> ProposalView:
            proposal = await store.find(connection, await work(connection))
            return await view(connection, self._key, proposal, OPERATOR_RIGHTS)

        return await self._database.transact(run)
