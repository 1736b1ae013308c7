"""Import and export, for HTTP and the command line."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from app.access.models import Scope
from app.access.permissions import NO_KEYS, Keys
from app.configuration.changes import past
from app.configuration.changes import service as changes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import ChangeKind, Content, Kind
from app.configuration.changes.past import Moment
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.changes.views import (
    ChangeView,
    PropertiesChangeView,
    made_view,
    readable_changes,
)
from app.configuration.json_schema.pool import Checkers
from app.configuration.list_data.loading import load_lists
from app.configuration.transfer.documents import Document, Mode
from app.configuration.transfer.import_plan import plan_import
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.environments.protection import Approval
from app.evaluation.lists import HashedList
from app.secrets.vault import Vault

WARNINGS_MAX = 1_000


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an import, by key. `properties` is set when it changed the metadata.

    `revision` is the new revision, or the current one when nothing differs. `warnings` name parts
    that were left out, violations that a lenient import tolerated, and probable mistakes. `changes`
    are the differences that a dry run found.
    """

    environment: str
    revision: int
    epoch: str
    created: list[str]
    updated: list[str]
    deleted: list[str]
    unchanged: int
    warnings: list[str]
    changes: list[ChangeView] = []
    properties: PropertiesChangeView | None = None
    dry_run: bool = False
    approval: Approval | None = None
    approval_required: bool = False


async def import_document(  # noqa: PLR0913 - all but three by name
    connection: Connection,
    name: str,
    document: Document,
    *,
    mode: Mode,
    actor: str,
    message: str,
    dry_run: bool,
    vault: Vault,
    checkers: Checkers,
    authority: Authority,
) -> ImportResult:
    """Write the differences as one change set. Raises as `plan_import` and `changes.apply` do."""
    plan = await plan_import(
        connection, name, document, mode, checkers=checkers, vault=vault, rights=authority.rights
    )
    warnings = [*document.warnings, *plan.warnings]
    view = None
    if plan.operations or plan.patch is not None:
        change_set = await changes.apply(
            connection,
            name,
            plan.operations,
            actor=actor,
            kind=ChangeKind.IMPORT,
            message=message,
            vault=vault,
            patch=plan.patch,
            authority=replace(authority, is_dry_run=dry_run),
        )
        warnings += map(str, change_set.warnings)
        view = await made_view(change_set)
    shown: list[ChangeView] = []
    if view is not None and dry_run:
        shown = readable_changes(view.changes, authority.rights.keys(Scope.READ, name))
    environment = await environments.get(connection, name)
    return ImportResult(
        environment=name,
        revision=environment.revision,
        epoch=environment.epoch,
        created=plan.created,
        updated=plan.updated,
        deleted=plan.deleted,
        unchanged=len(plan.unchanged),
        warnings=_bounded(warnings),
        changes=shown,
        properties=view.properties if view is not None else None,
        approval=view.approval if view is not None else None,
        approval_required=view is not None and view.approval_required,
    )


def _bounded(warnings: list[str]) -> list[str]:
    """Return the first 1,000 warnings, and the number of the others."""
    more = len(warnings) - WARNINGS_MAX
    return warnings if more <= 0 else [*warnings[:WARNINGS_MAX], f"and {more} more"]


async def environment_at(
    connection: Connection,
    name: str,
    moment: Moment | None,
    *,
    keys: Keys,
    revealed: Keys = NO_KEYS,
    vault: Vault | None = None,
) -> tuple[Environment, dict[str, Content]]:
    """Return the environment and the entries of these keys at a moment, by default now.

    With a vault, the `revealed` secrets are in clear, except shredded ones. Raises NotFound, and as
    the vault does.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if moment is None:
            environment = await environments.get(connection, name)
        else:
            environment = await past.environment_at(connection, name, moment)
        entries = await past.all_entries_at(connection, name, environment.revision, keys=keys)
    contents = {key: entry.content for key, entry in entries.items() if entry.content is not None}
    if vault is not None:
        opened = [key for key in contents if key in revealed]
        clear = await reveal_secrets(connection, vault, [contents[key] for key in opened])
        contents |= zip(opened, clear, strict=True)
    return environment, contents


async def lists_of(connection: Connection, entries: Mapping[str, Content]) -> list[HashedList]:
    """Return the lists of the entries. A document for flagd finds them while they are held."""
    segments = (entry.value for entry in entries.values() if entry.kind is Kind.SEGMENT)
    return await load_lists(connection, segments)


def count_revealed(entries: Mapping[str, Content]) -> int:
    """Return the number of secrets in clear."""
    return sum(entry.kind is Kind.SECRET and entry.value is not None for entry in entries.values())
