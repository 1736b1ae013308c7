"""A stored proposal and its events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.access.permissions import ALL_KEYS, NO_KEYS, Keys
from app.configuration.changes.authority import PROPERTIES
from app.configuration.changes.named_lists import named_list
from app.configuration.changes.requests import AnyOperation, PatchOperation, PutOperation
from app.configuration.proposals.requests import NewProposal
from app.configuration.proposals.states import Action, ProposalState
from app.evaluation.lists import ListReference

CREATED = "created"
COMMENTED = "commented"
# The column of an event that the API does not show.
_APPROVED_KEYS = "approved_keys"


class ProposalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor did to a proposal. `environments` are those that it concerns."""

    id: int
    event: str
    version: int
    actor: str
    actor_name: str = ""
    environments: list[str]
    text: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The number of approvals that each environment needs, and the keys there that need them."""

    required: Mapping[str, int] = field(default_factory=dict)
    covered: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposal as it is stored. Secrets in `operations` have the value null.

    `needs` are the approvals that it needs, as of the last trial. `approved_keys` has the prefixes
    of each approval by environment, by the ID of its event. `is_outdated` says that one of its
    environments was deleted.
    """

    id: int
    environments: Sequence[str]
    title: str
    message: str
    operations: Sequence[AnyOperation] = field(repr=False)
    version: int
    state: ProposalState
    author: str
    created_at: datetime
    updated_at: datetime
    apply_at: datetime | None
    expires_after_seconds: int | None
    scheduled_by: str | None
    reason: str | None
    needs: Needs
    applied: Mapping[str, int] | None
    is_outdated: bool
    events: Sequence[ProposalEvent] = ()
    approved_keys: Mapping[int, Mapping[str, Sequence[str]] | None] = field(default_factory=dict)

    @property
    def approvals(self) -> Sequence[ProposalEvent]:
        """The approvals of this version. An edit makes a new version, so it ends them."""
        return [
            event
            for event in self.events
            if event.event == Action.APPROVE and event.version == self.version
        ]

    @property
    def authors(self) -> set[str]:
        """The actors that have written the proposal or a part of it."""
        return authors_of(self.events)


def approved_keys_of(
    prefixes: Mapping[str, Sequence[str]] | None, environments: Sequence[str], environment: str
) -> Keys:
    """Return the keys that an approval is for. Approvals of earlier releases are for all keys."""
    if prefixes is not None:
        return Keys.below(prefixes.get(environment, ()))
    return ALL_KEYS if environment in environments else NO_KEYS


def authors_of(events: Sequence[ProposalEvent]) -> set[str]:
    """Return who created or edited a proposal."""
    return {event.actor for event in events if event.event in {CREATED, Action.EDIT}}


def proposal_of(row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Proposal:
    fields = dict(row)
    operations = msgspec.convert(fields.pop("operations"), list[AnyOperation])
    required, covered = fields.pop("required"), fields.pop("covered")
    return Proposal(
        **{**fields, "state": ProposalState(fields["state"])},
        # Earlier releases stored no keys: then each one needs approvals.
        needs=Needs(
            required=required,
            covered={name: covered.get(name) or keys_in(operations, name) for name in required},
        ),
        operations=operations,
        events=[
            ProposalEvent(
                **{name: value for name, value in event.items() if name != _APPROVED_KEYS}
            )
            for event in events
        ],
        approved_keys={event["id"]: event[_APPROVED_KEYS] for event in events},
    )


def environments_of(operations: Iterable[AnyOperation]) -> list[str]:
    return sorted({operation.environment or "" for operation in operations})


def key_of(operation: AnyOperation) -> str:
    """Return the key of an operation. The properties of an environment belong to all keys."""
    return PROPERTIES if isinstance(operation, PatchOperation) else operation.key


def keys_in(operations: Iterable[AnyOperation], environment: str) -> list[str]:
    """Return the keys of the operations in an environment."""
    return [key_of(item) for item in operations if item.environment == environment]


def lists_in(operations: Iterable[AnyOperation], environment: str) -> dict[str, ListReference]:
    """Return the lists that the operations name in an environment, by key."""
    return {
        item.key: reference
        for item in operations
        if item.environment == environment
        and isinstance(item, PutOperation)
        and (reference := named_list(item.kind, item.value)) is not None
    }


def unstored(body: NewProposal) -> Proposal:
    """Return a proposal that is not stored yet, for its trial."""
    now = datetime.now(UTC)
    return Proposal(
        id=0,
        environments=environments_of(body.operations),
        title=body.title,
        message=body.message,
        operations=body.operations,
        version=1,
        state=ProposalState.DRAFT,
        author="",
        created_at=now,
        updated_at=now,
        apply_at=None,
        expires_after_seconds=None,
        scheduled_by=None,
        reason=None,
        needs=Needs(),
        applied=None,
        is_outdated=False,
    )
