"""The JSON shapes of proposals in requests."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.configuration.changes.requests import (
    OPERATIONS_MAX,
    AnyOperation,
    Message,
    NewChangeSet,
)
from app.errors import TooLarge
from app.names import counted

TITLE_MAX = 200
TEXT_MAX = 2_000
EXPIRES_AFTER_SECONDS = 3_600
EXPIRES_AFTER_SECONDS_MAX = 7 * 86_400

Title = Annotated[str, msgspec.Meta(min_length=1, max_length=TITLE_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
Operations = Annotated[list[AnyOperation], msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request's body. Subclasses inherit these options."""


class NewProposal(_Body, frozen=True, kw_only=True):
    """A change set to propose. `environment` is that of the operations that name none.

    A draft is not submitted yet. The message is for the history.
    """

    title: Title
    message: Message = ""
    environment: str | None = None
    operations: Operations
    draft: bool = False


def new_proposal(change_set: NewChangeSet) -> NewProposal:
    """Return the proposal of a change set that needs approval. Raises TooLarge."""
    operations = list(change_set.operations)
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(
            "proposal_too_large",
            f"The change has {len(operations)} operations, and a proposal has at most "
            f"{OPERATIONS_MAX}. Propose it in parts.",
        )
    named = getattr(operations[0], "key", "the properties") if len(operations) == 1 else ""
    change = f"Change {named or counted(len(operations), 'entry', 'entries')}"
    lines = map(str.strip, change_set.message.splitlines())
    title = next(filter(None, lines), change)
    return NewProposal(title=title[:TITLE_MAX], message=change_set.message, operations=operations)


class ProposalPatch(_Body, frozen=True, kw_only=True):
    """An edit. `operations` replace all operations; a secret with the value null stays as it is."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    message: Message | msgspec.UnsetType = msgspec.UNSET
    environment: str | None = None
    operations: Operations | msgspec.UnsetType = msgspec.UNSET


class ProposalRemark(_Body, frozen=True, kw_only=True):
    """A text for the conversation."""

    text: Text = ""


class Comment(_Body, frozen=True, kw_only=True):
    text: Reason


class Rejection(_Body, frozen=True, kw_only=True):
    reason: Reason


class ProposalSchedule(_Body, frozen=True, kw_only=True):
    """The time of the application; null ends the schedule.

    If it cannot be applied for `expires_after_seconds` after that time, it fails.
    """

    apply_at: Annotated[datetime, msgspec.Meta(tz=True)] | None
    expires_after_seconds: Annotated[int, msgspec.Meta(ge=0, le=EXPIRES_AFTER_SECONDS_MAX)] = (
        EXPIRES_AFTER_SECONDS
    )
