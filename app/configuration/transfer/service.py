"""Import and export, for whoever has a connection: HTTP and the command line."""

from collections.abc import Mapping

from app.configuration.changes import history
from app.configuration.changes.history import Moment
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.changes.views import made_view
from app.configuration.json_schema.pool import Checkers
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer.documents import Document, Mode
from app.configuration.transfer.import_plan import apply_plan, plan
from app.configuration.transfer.views import Imported
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.secrets.vault import Vault

WARNINGS_MAX = 1_000


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
    may_reveal: bool,
) -> Imported:
    """Write what differs as one change set, and tell the differences of a dry run.

    Raises as `plan` and `changes.apply` do.
    """
    known = vault if may_reveal else None
    wanted = await plan(connection, name, document, mode, checkers=checkers, known=known)
    made = await apply_plan(connection, name, wanted, actor=actor, message=message, vault=vault)
    view = await made_view(made) if made is not None else None
    references = made.warnings if made is not None else ()
    environment = await environments.get(connection, name)
    return Imported(
        environment=name,
        revision=environment.revision,
        epoch=environment.epoch,
        created=wanted.created,
        updated=wanted.updated,
        deleted=wanted.deleted,
        unchanged=len(wanted.unchanged),
        warnings=_bounded(
            [
                *document.warnings,
                *wanted.warnings,
                *(f"{each.field}: {each.rule}" for each in references),
            ]
        ),
        changes=view.changes if view is not None and dry_run else [],
        properties=view.properties if view is not None else None,
    )


def _bounded(warnings: list[str]) -> list[str]:
    """Return the first warnings, and how many more there are."""
    more = len(warnings) - WARNINGS_MAX
    return warnings if more <= 0 else [*warnings[:WARNINGS_MAX], f"and {more} more"]


async def environment_at(
    connection: Connection, name: str, moment: Moment | None, *, vault: Vault | None = None
) -> tuple[Environment, dict[str, Content]]:
    """Return the environment as it was at a moment, by default now.

    With a vault, secrets are in clear, except those that were shredded. Raises NotFound, and as
    the vault does.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if moment is None:
            environment = await environments.get(connection, name)
        else:
            environment = await history.environment_at(connection, name, moment)
        found = await history.entries_at(connection, name, environment.revision)
    contents = {key: each.content for key, each in found.items() if each.content is not None}
    if vault is not None:
        clear = await reveal_secrets(connection, vault, list(contents.values()))
        contents = dict(zip(contents, clear, strict=True))
    return environment, contents


def count_revealed(entries: Mapping[str, Content]) -> int:
    """Return how many secrets are in clear."""
    return sum(each.kind is Kind.SECRET and each.value is not None for each in entries.values())


def content_of(configuration: Configuration) -> Content:
    return Content(
        kind=Kind(configuration.kind),
        value=configuration.value,
        schema=configuration.schema,
        description=configuration.description,
    )
