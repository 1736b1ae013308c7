"""The verbs of `configuration` that write an environment to a file, and read it back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from app.access.events import AccessEvent, Origin
from app.cli.actor import operator
from app.cli.history import At, moment, show_changes, show_properties
from app.cli.terminal import console, progress_display
from app.configuration.transfer import service
from app.configuration.transfer.document_checks import read_checked_file
from app.configuration.transfer.document_reader import format_of
from app.configuration.transfer.document_writer import left_out, write_document
from app.configuration.transfer.documents import Format, Mode
from app.configuration.transfer.service import Imported
from app.http.dry_run import transact
from app.names import counted
from app.scripts import Resources, run_script

cli = typer.Typer()

Environment = Annotated[str, typer.Argument(help="Name of the environment.")]


@cli.command("export")
def export_environment(
    environment: Environment,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; standard output, if left out.")
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name says.")
    ] = None,
    revision: Annotated[
        int | None, typer.Option(min=0, help="As of this revision, instead of now.")
    ] = None,
    at: At = None,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Secrets in clear.")] = False,
) -> None:
    """Write all of an environment to a file that `import` can read; secrets are masked."""
    chosen = format_ or (format_of(file) if file is not None else Format.JSON)
    wanted = moment(revision, at)

    async def work(resources: Resources) -> tuple[int, list[str], bytes]:
        vault = resources.vault if reveal else None
        async with resources.database.connection() as connection:
            found, entries = await service.environment_at(
                connection, environment, wanted, vault=vault
            )
        if secrets := service.count_revealed(entries):
            access = Origin(actor=operator()).did(
                AccessEvent.SECRET_READ,
                environment=environment,
                detail=f"export of {counted(secrets, 'secret')} as of revision {found.revision}",
            )
            await resources.database.transact(lambda c: resources.access_log.record(c, access))
        omitted = sorted(left_out(entries, chosen))
        return len(entries) - len(omitted), omitted, write_document(found, entries, chosen)

    with _told(f"exporting {environment}"):
        count, omitted, text = run_script(work)
    if file is None:
        sys.stdout.buffer.write(text)
        return
    file.write_bytes(text)
    console.print(f"{counted(count, 'entry', 'entries')} in {file}")
    if omitted:
        console.print(f"left out, as {chosen} cannot hold them: {', '.join(omitted)}")


@cli.command("import")
def import_document(
    environment: Environment,
    file: Annotated[Path, typer.Argument(help=".json, .yaml, .yml, .env or .env.*", exists=True)],
    mode: Annotated[
        Mode, typer.Option(help="Whether entries that the file does not have stay or go.")
    ] = Mode.MERGE,
    format_: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name says.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")] = "",
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Names of secrets in .env, such as *PASSWORD*; repeatable."),
    ] = None,
    *,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Warn of flags that break rules of their format.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change.")] = False,
) -> None:
    """Make an environment hold what a file says, as one change set."""

    async def work(resources: Resources) -> Imported:
        document = read_checked_file(
            file, format_, resources.checkers, lenient=lenient, secrets=secret or ()
        )
        return await transact(
            resources.database,
            lambda c: service.import_document(
                c,
                environment,
                document,
                mode=mode,
                actor=operator(),
                message=message or f"Import {file.name}",
                dry_run=dry_run,
                vault=resources.vault,
                checkers=resources.checkers,
                # Who has the database and the key ring has the secrets.
                may_reveal=True,
            ),
            dry_run=dry_run,
        )

    with _told(f"importing {file.name}"):
        imported = run_script(work)
    _report(imported, dry_run=dry_run)


def _report(imported: Imported, *, dry_run: bool) -> None:
    for warning in imported.warnings:
        console.print(warning, style="yellow")
    if dry_run and imported.changes:
        show_changes(imported.changes)
    show_properties(imported.properties)
    console.print(
        f"{len(imported.created)} created, {len(imported.updated)} updated, "
        f"{len(imported.deleted)} deleted, {imported.unchanged} unchanged"
    )
    if dry_run:
        console.print("dry run: nothing was written")
    elif imported.created or imported.updated or imported.deleted or imported.properties:
        console.print(f"{imported.environment} is at revision {imported.revision}")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Show that something goes on, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress_display(*columns) as progress:
        progress.add_task(what, total=None)
        yield
