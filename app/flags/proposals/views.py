"""The JSON shapes of previews of proposals."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.configuration.changes.views import ChangeView, PropertiesChangeView
from app.configuration.proposals.differences import MovedKey
from app.flags.preview_views import FlagPreview, Refusal


class EnvironmentPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a proposal changes in one environment now.

    `changes` has the first of `changes_count` changes, and `words` says them in English.
    `refusals` are the errors that its application would get. Each of the `conflicts` has moved
    since, and needs an edit. `flags` are the affected flags, as in a preview of a draft.
    """

    environment: str
    revision: int
    changes: list[ChangeView]
    changes_count: int
    properties: PropertiesChangeView | None
    properties_moved: bool
    words: list[str]
    refusals: list[Refusal]
    conflicts: list[MovedKey]
    approvals_required: int
    flags: list[FlagPreview]
    flags_count: int
    is_complete: bool


class ProposalPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The preview of a proposal in each of its environments that the token is for.

    `can_apply` is false if one of them refuses it.
    """

    proposal: int
    version: int
    can_apply: bool
    environments: list[EnvironmentPreview]


class ProposedEvaluationQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A flag to evaluate in the proposed state. `at` is the current time of time rules.

    `environment` may be absent if the proposal is for only one.
    """

    flag: str
    environment: str | None = None
    context: dict[str, Any] = {}
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
