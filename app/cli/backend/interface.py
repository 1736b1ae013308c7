"""The operations that commands need, as a protocol. The errors are those of `app/errors.py`."""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from app.access.token_views import IssuedToken, NewToken, TokenView
from app.cli.backend.people_interface import PeopleBackend
from app.configuration.changes.models import Kind
from app.configuration.changes.past import Moment
from app.configuration.changes.plan_control import PlanCommand
from app.configuration.changes.requests import EnvironmentPatch, NewChangeSet, NewEnvironment
from app.configuration.changes.views import (
    AppliedChangeSets,
    ChangeSetPage,
    Difference,
    KeyHistory,
)
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.configuration.lists.exporting import ExportFormat
from app.configuration.lists.models import ListPage, ListPatch, ListResult
from app.configuration.lists.service import UploadMode
from app.configuration.lists.upload_reader import UploadFormat
from app.configuration.proposals.requests import NewProposal, ProposalPatch, ProposalSchedule
from app.configuration.proposals.states import ProposalState
from app.configuration.proposals.views import ProposalSummary, ProposalView
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer.documents import Format, ImportOptions
from app.configuration.transfer.service import ImportResult
from app.environments.models import Environment
from app.flags.explanation import FlagSource
from app.flags.plan_views import PlanControl
from app.flags.preview_views import Preview, PreviewRequest
from app.flags.views import EvaluationQuery, ExplainedEvaluation, FlagUse


class Export(NamedTuple):
    """An exported file, the number of its entries, and the keys that its format cannot hold."""

    text: bytes
    entries: int
    left_out: Sequence[str]


class ListUpload(NamedTuple):
    """A file with values of a list, in parts."""

    parts: AsyncGenerator[bytes, None]
    format: UploadFormat
    mode: UploadMode
    message: str


class Backend(PeopleBackend, Protocol):
    """The operations of commands. A `version` is the expected one, and nothing is overwritten."""

    async def list_environments(self) -> list[Environment]: ...

    async def get_environment(self, name: str, moment: Moment | None = None) -> Environment: ...

    async def create_environment(self, new: NewEnvironment) -> Environment: ...

    async def patch_environment(
        self, name: str, patch: EnvironmentPatch, version: int, *, dry_run: bool
    ) -> AppliedChangeSets: ...

    async def delete_environment(
        self, name: str, version: int, message: str, *, dry_run: bool
    ) -> Environment: ...

    async def get_entry(
        self, environment: str, key: str, moment: Moment | None = None, *, reveal: bool = False
    ) -> Configuration: ...

    async def list_entries(
        self,
        environment: str,
        moment: Moment | None = None,
        *,
        prefix: str = "",
        kind: Kind | None = None,
    ) -> list[Configuration]: ...

    async def put_entry(
        self, environment: str, key: str, new: NewConfiguration, version: int
    ) -> WriteResult:
        """Store an entry; version 0 expects that there is none."""
        ...

    async def control_plan(
        self, environment: str, key: str, action: PlanCommand, body: PlanControl, version: int
    ) -> WriteResult:
        """Control the plan of a flag. The clock of the database decides when."""
        ...

    async def delete_entry(
        self, environment: str, key: str, version: int, message: str, *, dry_run: bool
    ) -> AppliedChangeSets: ...

    async def apply(
        self, environment: str, body: NewChangeSet, *, dry_run: bool
    ) -> AppliedChangeSets: ...

    async def key_history(self, environment: str, key: str, *, limit: int) -> KeyHistory: ...

    async def list_change_sets(self, environment: str, *, limit: int) -> ChangeSetPage: ...

    async def compare_revisions(
        self, environment: str, before: int, after: int | None
    ) -> Difference: ...

    async def compare_environments(self, environment: str, against: str) -> Difference: ...

    async def revert(
        self,
        environment: str,
        revision: int,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets: ...

    async def restore(
        self,
        environment: str,
        moment: Moment,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets: ...

    async def promote(
        self, environment: str, source: str, keys: Sequence[str], message: str, *, dry_run: bool
    ) -> AppliedChangeSets: ...

    async def export(
        self, environment: str, format_: Format, moment: Moment | None, *, reveal: bool
    ) -> Export: ...

    async def import_file(
        self, environment: str, raw: bytes, options: ImportOptions
    ) -> ImportResult: ...

    async def upload_list(
        self, environment: str, key: str, upload: ListUpload, version: int, *, dry_run: bool
    ) -> ListResult:
        """Store the values of a file; version 0 expects that there is no entry."""
        ...

    async def patch_list(
        self, environment: str, key: str, patch: ListPatch, version: int, *, dry_run: bool
    ) -> ListResult: ...

    async def find_list_value(self, environment: str, key: str, value: str) -> ListPage: ...

    def export_list(
        self, environment: str, key: str, format_: ExportFormat
    ) -> AsyncGenerator[bytes, None]: ...

    async def list_usage(self, environment: str) -> list[FlagUse]: ...

    async def explain(
        self, environment: str, key: str, query: EvaluationQuery
    ) -> ExplainedEvaluation: ...

    async def flag_source(
        self, environment: str, key: str, moment: Moment | None
    ) -> FlagSource: ...

    async def preview(self, environment: str, request: PreviewRequest) -> Preview: ...

    async def list_tokens(self) -> list[TokenView]: ...

    async def get_token(self, token_id: str) -> TokenView: ...

    async def create_token(self, new: NewToken) -> IssuedToken: ...

    async def rotate_token(self, token_id: str, grace_seconds: int) -> IssuedToken: ...

    async def revoke_token(self, token_id: str) -> None: ...

    async def list_proposals(
        self, states: Sequence[ProposalState], environment: str | None
    ) -> list[ProposalSummary]: ...

    async def get_proposal(self, id_: int) -> ProposalView: ...

    async def create_proposal(self, new: NewProposal) -> ProposalView: ...

    async def edit_proposal(self, id_: int, patch: ProposalPatch, version: int) -> ProposalView: ...

    async def submit_proposal(self, id_: int, text: str) -> ProposalView: ...

    async def approve_proposal(self, id_: int, text: str, version: int) -> ProposalView: ...

    async def reject_proposal(self, id_: int, reason: str) -> ProposalView: ...

    async def comment_on_proposal(self, id_: int, text: str) -> ProposalView: ...

    async def withdraw_proposal(self, id_: int, text: str) -> ProposalView: ...

    async def schedule_proposal(
        self, id_: int, schedule: ProposalSchedule, version: int
    ) -> ProposalView: ...

    async def apply_proposal(self, id_: int, text: str, version: int) -> ProposalView: ...
