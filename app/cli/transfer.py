"""The commands of `configuration` that export an environment to a file, and import files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from app.access.events import AccessEvent
from app.cli.actor import operator, origin
from app.cli.help import Commands
from app.cli.history import DRY_RUN, show_changes, show_properties
from app.cli.options import At, DryRun, EnvironmentName, Message, Revision, moment
from app.cli.terminal import console, progress_display
from app.configuration.transfer import service
from app.configuration.transfer.document_checks import check_document
from app.configuration.transfer.document_reader import format_of, read_file
from app.configuration.transfer.document_writer import left_out, write_document
from app.configuration.transfer.documents import Format, Mode
from app.configuration.transfer.service import ImportResult
from app.http.writes import transact
from app.names import counted
from app.scripts import Resources, run_script

cli = Commands()


@cli.command("export")
def export_environment(
    environment: EnvironmentName,
    file: Annotated[
        Path | None, typer.Argument(help="File to write; standard output by default.")
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Format; by default from the file name.")
    ] = None,
    revision: Revision = None,
    at: At = None,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Write the values of secrets.")] = False,
) -> None:
    """Export an environment to a file that `configuration import` can read.

    Secrets are masked. --reveal writes them, and the access log records that.

    Example: python -m app configuration export local local.yaml
    """
    chosen = format_ or (format_of(file) if file is not None else Format.JSON)
    state = moment(revision, at)

    async def work(resources: Resources) -> tuple[int, list[str], bytes]:
        vault = resources.vault if reveal else None
        async with resources.database.connection() as connection:
            exported, entries = await service.environment_at(
                connection, environment, state, vault=vault
            )
        if secrets := service.count_revealed(entries):
            access = origin().did(
                AccessEvent.SECRET_READ,
                environment=environment,
                detail=f"export of {counted(secrets, 'secret')} as of revision {exported.revision}",
            )
            await resources.database.transact(lambda c: resources.access_log.record(c, access))
        omitted = sorted(left_out(entries, chosen))
        return len(entries) - len(omitted), omitted, write_document(exported, entries, chosen)

    with _spinner(f"exporting {environment}"):
        count, omitted, text = run_script(work)
    if file is None:
        sys.stdout.buffer.write(text)
        return
    file.write_bytes(text)
    console.print(f"{counted(count, 'entry', 'entries')} in {file}")
    if omitted:
        console.print(f"not exported, as {chosen} cannot hold them: {', '.join(omitted)}")


@cli.command("import")
def import_document(
    environment: EnvironmentName,
    file: Annotated[
        Path, typer.Argument(help="File to read: .json, .yaml, .yml, .env or .env.*.", exists=True)
    ],
    mode: Annotated[
        Mode,
        typer.Option(help="Merge keeps entries that are not in the file; replace deletes them."),
    ] = Mode.MERGE,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Format; by default from the file name.")
    ] = None,
    message: Message = "",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of names in .env that are secrets, e.g. *PASSWORD*; repeatable.",
            metavar="PATTERN",
        ),
    ] = None,
    *,
    lenient: Annotated[
        bool,
        typer.Option("--lenient", help="Store flags that break a rule of the format, and warn."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Import a file into an environment, as one change set.

    Example:
        python -m app configuration import development local.yaml --dry-run
    """

    async def work(resources: Resources) -> ImportResult:
        document = check_document(
            read_file(file, format_, lenient=lenient),
            resources.checkers,
            lenient=lenient,
            secrets=secret or (),
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
                # An operator with the database and the key ring can read all secrets anyway.
                may_reveal=True,
            ),
            dry_run=dry_run,
        )

    with _spinner(f"importing {file.name}"):
        imported = run_script(work)
    _report(imported, dry_run=dry_run)


def _report(imported: ImportResult, *, dry_run: bool) -> None:
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
        console.print(DRY_RUN)
    elif imported.created or imported.updated or imported.deleted or imported.properties:
        console.print(f"{imported.environment} is at revision {imported.revision}")


@contextmanager
def _spinner(description: str) -> Iterator[None]:
    """Show how long the block has run."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress_display(*columns) as progress:
        progress.add_task(description, total=None)
        yield
