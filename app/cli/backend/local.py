"""The operations of commands on the database: the services that the handlers of the API call."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from app.access.events import AccessEvent
from app.access.permissions import ALL_KEYS, OPERATOR_RIGHTS, Keys
from app.cli.actor import operator, origin
from app.cli.backend.authority import authority, record_changes, record_emergency
from app.cli.backend.interface import Backend, Export
from app.cli.backend.local_lists import LocalLists
from app.cli.protected_writes import ProposedError, is_proposed
from app.configuration.changes import history, plan_control, plans, writes
from app.configuration.changes.content_checks import ContentChecks, find_format_error
from app.configuration.changes.differences import between_environments, between_revisions
from app.configuration.changes.intents import intents_of
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.past import Moment
from app.configuration.changes.plan_control import PlanCommand
from app.configuration.changes.plans import ChangePlan
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import NewChangeSet
from app.configuration.changes.views import (
    AppliedChangeSets,
    ChangeSetPage,
    Difference,
    KeyHistory,
)
from app.configuration.entries import service as entries
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.configuration.proposals.requests import new_proposal
from app.configuration.snapshots import loading
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer import service as transfer
from app.configuration.transfer.document_checks import check_document
from app.configuration.transfer.document_reader import read_document
from app.configuration.transfer.document_writer import left_out, write_document
from app.configuration.transfer.documents import Format, ImportOptions
from app.configuration.transfer.service import ImportResult
from app.database import Connection
from app.errors import ApprovalRequired
from app.flags import explanation
from app.flags.explanation import FlagSource
from app.flags.plan_views import PlanControl
from app.flags.preview import Previews
from app.flags.preview_views import Preview, PreviewRequest
from app.flags.usage_report import read_usage
from app.flags.views import EvaluationQuery, ExplainedEvaluation, FlagUse
from app.http.conditions import ExpectedVersion
from app.http.writes import transact
from app.names import counted
from app.scripts import Resources, Result, run_script

_PAGE = 500


def run_local(work: Callable[[Backend], Awaitable[Result]]) -> Result:
    """Run the work on the database of the settings."""

    async def whole(resources: Resources) -> Result:
        backend = LocalBackend(resources)
        try:
            return await work(backend)
        except ApprovalRequired as error:
            if not is_proposed():
                raise
            new = new_proposal(error.change_set)
        raise ProposedError(await backend.create_proposal(new))

    return run_script(whole)


class LocalBackend(LocalLists):
    """The operations on a pool. The actor is the operator's account."""

    async def get_entry(
        self, environment: str, key: str, moment: Moment | None = None, *, reveal: bool = False
    ) -> Configuration:
        async def read(connection: Connection) -> Configuration:
            vault = self._vault if reveal else None
            entry, _, _ = await entries.get(connection, environment, key, moment, vault=vault)
            if reveal and entry.kind == Kind.SECRET:
                access = origin().did(
                    AccessEvent.SECRET_READ,
                    environment=environment,
                    resource=key,
                    version=entry.version,
                )
                await self._log.record(connection, access)
            return entry

        return await self._database.transact(read)

    async def list_entries(
        self,
        environment: str,
        moment: Moment | None = None,
        *,
        prefix: str = "",
        kind: Kind | None = None,
    ) -> list[Configuration]:
        items: list[Configuration] = []
        after: str | None = ""
        while after is not None:
            async with self._database.connection() as connection:
                page, _ = await entries.list_page(
                    *(connection, environment, moment),
                    keys=Keys.below([prefix]),
                    kind=kind,
                    after=after,
                    limit=_PAGE,
                )
            items += page.items
            after = page.next
        return items

    async def put_entry(
        self, environment: str, key: str, new: NewConfiguration, version: int
    ) -> WriteResult:
        content = Content.of(new)
        with self._checkers.request() as check:
            refusal = find_format_error(content, check)
        operation = Operation(
            key=entries.check_key(key),
            content=content,
            expected=ExpectedVersion(version=version or None),
            refusal=refusal,
        )

        async def write(connection: Connection) -> WriteResult:
            written = await entries.write(
                *(connection, environment, operation),
                actor=operator(),
                message=new.message,
                vault=self._vault,
                authority=authority(),
            )
            await record_emergency(connection, self._log, [written])
            return written

        return await self._database.transact(write)

    async def control_plan(
        self, environment: str, key: str, action: PlanCommand, body: PlanControl, version: int
    ) -> WriteResult:
        async def write(connection: Connection) -> WriteResult:
            change_set = await plan_control.control_plan(
                *(connection, environment, key, action),
                step=body.step,
                expected=ExpectedVersion(version=version),
                actor=operator(),
                message=body.message,
                authority=authority(),
            )
            written = entries.result_of(change_set)
            await record_emergency(connection, self._log, [written])
            return written

        return await self._database.transact(write)

    async def delete_entry(
        self, environment: str, key: str, version: int, message: str, *, dry_run: bool
    ) -> AppliedChangeSets:
        expected = ExpectedVersion(version=version)
        operation = Operation(key=entries.check_stored_key(key), content=None, expected=expected)
        intents = {environment: Intent(operations=[operation])}

        async def write(connection: Connection) -> AppliedChangeSets:
            applied = await writes.apply(
                connection,
                intents,
                actor=operator(),
                message=message,
                authority=authority(dry_run=dry_run),
            )
            await record_changes(connection, self._log, applied)
            return applied

        return await transact(self._database, write, dry_run=dry_run)

    async def apply(
        self, environment: str, body: NewChangeSet, *, dry_run: bool
    ) -> AppliedChangeSets:
        with self._checkers.request() as check:
            intents = intents_of(body, environment, check)

        async def write(connection: Connection) -> AppliedChangeSets:
            applied = await writes.apply(
                connection,
                intents,
                actor=operator(),
                message=body.message,
                vault=self._vault,
                authority=authority(dry_run=dry_run),
            )
            await record_changes(connection, self._log, applied)
            return applied

        return await transact(self._database, write, dry_run=dry_run)

    async def key_history(self, environment: str, key: str, *, limit: int) -> KeyHistory:
        async with self._database.connection() as connection:
            return await history.key_history(connection, environment, key, limit=limit)

    async def list_change_sets(self, environment: str, *, limit: int) -> ChangeSetPage:
        async with self._database.connection() as connection:
            return await history.list_change_sets(
                connection, environment, keys=ALL_KEYS, limit=limit
            )

    async def compare_revisions(
        self, environment: str, before: int, after: int | None
    ) -> Difference:
        async with self._database.connection() as connection:
            return await between_revisions(connection, environment, before, after, keys=ALL_KEYS)

    async def compare_environments(self, environment: str, against: str) -> Difference:
        async with self._database.connection() as connection:
            return await between_environments(connection, environment, against, keys=ALL_KEYS)

    async def revert(
        self,
        environment: str,
        revision: int,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets:
        only = plans.narrowed(OPERATOR_RIGHTS, environment, prefixes)
        return await self._apply_plan(
            lambda c: plans.revert(c, environment, revision, keys=ALL_KEYS, only=only),
            message,
            dry_run=dry_run,
        )

    async def restore(
        self,
        environment: str,
        moment: Moment,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets:
        only = plans.narrowed(OPERATOR_RIGHTS, environment, prefixes)
        return await self._apply_plan(
            lambda c: plans.restore(c, environment, moment, only=only), message, dry_run=dry_run
        )

    async def promote(
        self, environment: str, source: str, keys: Sequence[str], message: str, *, dry_run: bool
    ) -> AppliedChangeSets:
        return await self._apply_plan(
            # An operator with the database and the key ring can read every secret.
            lambda c: plans.promote(c, source, environment, keys, rights=OPERATOR_RIGHTS),
            message,
            dry_run=dry_run,
        )

    async def _apply_plan(
        self, plan: Callable[[Connection], Awaitable[ChangePlan]], message: str, *, dry_run: bool
    ) -> AppliedChangeSets:
        async def write(connection: Connection) -> AppliedChangeSets:
            applied = await writes.apply_plan(
                connection,
                await plan(connection),
                actor=operator(),
                message=message,
                vault=self._vault,
                authority=authority(dry_run=dry_run),
            )
            await record_changes(connection, self._log, applied)
            return applied

        return await transact(self._database, write, dry_run=dry_run)

    async def export(
        self, environment: str, format_: Format, moment: Moment | None, *, reveal: bool
    ) -> Export:
        vault = self._vault if reveal else None
        async with self._database.connection() as connection:
            exported, contents = await transfer.environment_at(
                connection, environment, moment, keys=ALL_KEYS, revealed=ALL_KEYS, vault=vault
            )
            # A document for flagd finds them while they are held.
            lists = await transfer.lists_of(connection, contents)
        if secrets := transfer.count_revealed(contents):
            access = origin().did(
                AccessEvent.SECRET_READ,
                environment=environment,
                detail=f"export of {counted(secrets, 'secret')} as of revision {exported.revision}",
            )
            await self._database.transact(lambda c: self._log.record(c, access))
        omitted = sorted(left_out(contents, format_, exported))
        text = write_document(exported, contents, format_)
        del lists
        return Export(text, len(contents) - len(omitted), omitted)

    async def import_file(
        self, environment: str, raw: bytes, options: ImportOptions
    ) -> ImportResult:
        document = check_document(
            read_document(raw, options.format, lenient=options.lenient),
            self._checkers,
            lenient=options.lenient,
            secrets=options.secrets,
        )

        async def write(connection: Connection) -> ImportResult:
            imported = await transfer.import_document(
                *(connection, environment, document),
                mode=options.mode,
                actor=operator(),
                message=options.message,
                dry_run=options.dry_run,
                vault=self._vault,
                checkers=self._checkers,
                authority=authority(dry_run=options.dry_run),
            )
            await record_emergency(connection, self._log, [imported])
            return imported

        return await transact(self._database, write, dry_run=options.dry_run)

    async def list_usage(self, environment: str) -> list[FlagUse]:
        async with self._database.connection() as connection:
            return await read_usage(connection, environment, datetime.now(UTC), keys=ALL_KEYS)

    async def explain(
        self, environment: str, key: str, query: EvaluationQuery
    ) -> ExplainedEvaluation:
        moment = query.revision if query.at is None else query.at
        source = await self.flag_source(environment, key, moment)
        return explanation.explained(key, source, query, ALL_KEYS)

    async def flag_source(self, environment: str, key: str, moment: Moment | None) -> FlagSource:
        async with self._database.connection() as connection:
            return await explanation.source_at(connection, environment, key, moment)

    async def preview(self, environment: str, request: PreviewRequest) -> Preview:
        async with self._database.connection() as connection:
            snapshot = await loading.read(connection, environment)
        checks = ContentChecks()
        try:
            return await Previews(checks).run(snapshot, request, int(time.time()))
        finally:
            await checks.close()
