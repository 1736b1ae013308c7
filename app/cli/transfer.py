"""The commands of `configuration` that export an environment to a file, and import files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.backend import run_backend
from app.cli.help import Commands, WritingCommand
from app.cli.history import report_dry_run, show_changes, show_properties, tense_of
from app.cli.options import At, DryRun, EnvironmentName, Message, Revision, moment
from app.cli.terminal import console, progress_display
from app.configuration.transfer.document_reader import format_of
from app.configuration.transfer.documents import FILE_BYTES_MAX, Format, ImportOptions, Mode
from app.configuration.transfer.service import ImportResult
from app.names import counted

cli = Commands(is_remote=True)


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

    with _spinner(f"exporting {environment}"):
        exported = run_backend(lambda b: b.export(environment, chosen, state, reveal=reveal))
    if file is None:
        sys.stdout.buffer.write(exported.text)
        return
    file.write_bytes(exported.text)
    console.print(f"{counted(exported.entries, 'entry', 'entries')} in {file}")
    if exported.left_out:
        names = ", ".join(exported.left_out)
        console.print(f"not exported, as {chosen} cannot hold them: {names}")


@cli.command("import", cls=WritingCommand)
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
    options = ImportOptions(
        format=format_ or format_of(file),
        mode=mode,
        message=message or f"Import {file.name}",
        secrets=secret or (),
        lenient=lenient,
        dry_run=dry_run,
    )
    # One byte more than the limit, so that a longer file is refused and not cut.
    with file.open("rb") as opened:
        raw = opened.read(FILE_BYTES_MAX + 1)
    with _spinner(f"importing {file.name}"):
        imported = run_backend(lambda backend: backend.import_file(environment, raw, options))
    _report(imported, dry_run=dry_run)


def _report(imported: ImportResult, *, dry_run: bool) -> None:
    for warning in imported.warnings:
        console.print(warning, style="yellow")
    tense = tense_of(dry_run=dry_run)
    if dry_run and imported.changes:
        show_changes(imported.changes, tense)
    show_properties(imported.properties, tense)
    console.print(
        f"{len(imported.created)} created, {len(imported.updated)} updated, "
        f"{len(imported.deleted)} deleted, {imported.unchanged} unchanged"
    )
    if dry_run:
        report_dry_run([imported])
    elif imported.created or imported.updated or imported.deleted or imported.properties:
        console.print(f"{imported.environment} is at revision {imported.revision}")


@contextmanager
def _spinner(description: str) -> Iterator[None]:
    """Show how long the block has run."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress_display(*columns) as progress:
        progress.add_task(description, total=None)
        yield
