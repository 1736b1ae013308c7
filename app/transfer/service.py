"""Import and export, for whoever has a connection: HTTP and the command line."""

from app.changes import history
from app.changes.history import Moment
from app.changes.models import Content, Kind
from app.changes.views import made_view
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.snapshots.snapshot import Configuration
from app.transfer.documents import Document, Mode
from app.transfer.plans import apply_plan, plan
from app.transfer.views import Imported


async def import_document(
    connection: Connection,
    name: str,
    document: Document,
    *,
    mode: Mode,
    actor: str,
    message: str,
    dry_run: bool,
) -> Imported:
    """Write what differs as one change set, and tell the differences of a dry run.

    Raises as `plan` and `changes.apply` do.
    """
    wanted = await plan(connection, name, document, mode)
    made = await apply_plan(connection, name, wanted, actor=actor, message=message)
    view = made_view(made) if made is not None else None
    environment = await environments.get(connection, name)
    return Imported(
        environment=name,
        revision=environment.revision,
        epoch=environment.epoch,
        created=wanted.created,
        updated=wanted.updated,
        deleted=wanted.deleted,
        unchanged=len(wanted.unchanged),
        warnings=list(document.warnings),
        changes=view.changes if view is not None and dry_run else [],
        properties=view.properties if view is not None else None,
    )


async def environment_at(
    connection: Connection, name: str, moment: Moment | None
) -> tuple[Environment, dict[str, Content]]:
    """Return the environment as it was at a moment, by default now. Raises NotFound."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if moment is None:
            environment = await environments.get(connection, name)
        else:
            environment = await history.environment_at(connection, name, moment)
        found = await history.entries_at(connection, name, environment.revision)
    contents = {key: each.content for key, each in found.items() if each.content is not None}
    return environment, contents


def content_of(configuration: Configuration) -> Content:
    return Content(
        kind=Kind(configuration.kind),
        value=configuration.value,
        schema=configuration.schema,
        description=configuration.description,
    )
