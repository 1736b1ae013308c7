"""`list`: upload and change the values of large lists, look one up, and export all."""

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend, ListUpload
from app.cli.entries import find_entry
from app.cli.help import Commands, WritingCommand
from app.cli.history import report_dry_run
from app.cli.options import DryRun, EnvironmentName, Message, local_time
from app.cli.terminal import byte_progress, console
from app.configuration.lists.exporting import ExportFormat
from app.configuration.lists.models import ListPatch, ListResult
from app.configuration.lists.service import UploadMode
from app.configuration.lists.upload_reader import UploadFormat
from app.configuration.lists.values import ListValue
from app.names import counted

cli = Commands(
    """Upload, change and export lists of up to a million values. Flags ask them with `in_list`.

    Works on: the database, or a server with --url. Without --url the service need not run.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token.
    """,
    is_remote=True,
)

_PART_BYTES = 256 * 1024
_NDJSON_NAMES = {".ndjson", ".jsonl"}

Key = Annotated[str, typer.Argument(help="Key of the list.")]
Values = Annotated[list[str], typer.Argument(help="Values, at most 10,000.", metavar="VALUE...")]


@cli.command("upload", cls=WritingCommand)
def upload(
    environment: EnvironmentName,
    key: Key,
    file: Annotated[
        Path,
        typer.Argument(
            help="File to read: .ndjson, .jsonl, or else CSV.", exists=True, dir_okay=False
        ),
    ],
    mode: Annotated[
        UploadMode,
        typer.Option(help="Replace the list, add the values of the file, or remove them."),
    ] = UploadMode.REPLACE,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Upload a file with a value in each line, as one change set. It creates the list if needed.

    A line of CSV has a value and, after a comma, its expiry. A line of NDJSON is a string, or an
    object with `value` and `expires_at`. If the upload fails, nothing changes.

    Example: python -m app list upload local beta-customers beta.csv
    """
    format_ = UploadFormat.NDJSON if file.suffix in _NDJSON_NAMES else UploadFormat.CSV
    message = message or f"Upload {file.name}"
    with file.open("rb") as opened, byte_progress(f"uploading {file.name}") as report:
        size = file.stat().st_size

        async def write(backend: Backend) -> ListResult:
            find = backend.get_entry if mode is UploadMode.REMOVE else partial(find_entry, backend)
            entry = await find(environment, key)
            body = ListUpload(_parts(opened, size, report), format_, mode, message)
            version = entry.version if entry is not None else 0
            return await backend.upload_list(environment, key, body, version, dry_run=dry_run)

        written = run_backend(write)
    _report(written, dry_run=dry_run)


@cli.command("add", cls=WritingCommand)
def add(
    environment: EnvironmentName,
    key: Key,
    values: Values,
    expires_at: Annotated[
        datetime | None,
        typer.Option(help="Time from which the values do not match, in this machine's time zone."),
    ] = None,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Add values to a list. To add a value that is there changes its expiry.

    Example: python -m app list add local beta-customers eve joe
    """
    expiry = None if expires_at is None else local_time(expires_at)
    added: list[str | ListValue] = [ListValue(value=value, expires_at=expiry) for value in values]
    _patch(environment, key, ListPatch(add=added, message=message), dry_run=dry_run)


@cli.command("remove", cls=WritingCommand)
def remove(
    environment: EnvironmentName,
    key: Key,
    values: Values,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Remove values from a list. Values that it does not have are ignored.

    Example: python -m app list remove local beta-customers joe
    """
    _patch(environment, key, ListPatch(remove=values, message=message), dry_run=dry_run)


@cli.command("contains")
def contains(
    environment: EnvironmentName,
    key: Key,
    value: Annotated[str, typer.Argument(help="Value to look up.")],
) -> None:
    """Say whether a list has a value. Exit code 1: it has not, or the value has expired.

    Example: python -m app list contains local beta-customers eve
    """
    found = run_backend(lambda backend: backend.find_list_value(environment, key, value)).items
    if not found:
        console.print("no")
        raise typer.Exit(1)
    expiry = found[0].expires_at
    if expiry is None:
        console.print("yes")
    elif expiry > datetime.now(UTC):
        console.print(f"yes, until {expiry.isoformat()}")
    else:
        console.print(f"no, expired at {expiry.isoformat()}")
        raise typer.Exit(1)


@cli.command("export")
def export(
    environment: EnvironmentName,
    key: Key,
    file: Annotated[
        Path | None, typer.Argument(help="File to write; standard output by default.")
    ] = None,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="Format of the file.")
    ] = ExportFormat.CSV,
) -> None:
    """Export all values of a list to a file that `list upload` can read.

    Example: python -m app list export local beta-customers beta.csv
    """

    def save(target: BinaryIO) -> None:
        run_backend(lambda b: _copy(b.export_list(environment, key, format_), target))

    if file is None:
        save(sys.stdout.buffer)
        return
    # After a failure the file is as it was.
    draft = file.with_name(f"{file.name}.partial")
    try:
        with draft.open("wb") as opened:
            save(opened)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    console.print(f"{environment}/{key} is in {file}")


def _patch(environment: str, key: str, patch: ListPatch, *, dry_run: bool) -> None:
    async def write(backend: Backend) -> ListResult:
        version = (await backend.get_entry(environment, key)).version
        return await backend.patch_list(environment, key, patch, version, dry_run=dry_run)

    _report(run_backend(write), dry_run=dry_run)


def _report(written: ListResult, *, dry_run: bool) -> None:
    expired = f", {written.expired:,} expired" if written.expired else ""
    repeated = f", {counted(written.repeated, 'line')} repeated" if written.repeated else ""
    values = "value" if written.count == 1 else "values"
    console.print(
        f"{written.count:,} {values}: {written.added:,} added, "
        f"{written.removed:,} removed{expired}{repeated}"
    )
    if dry_run:
        report_dry_run([written])
        return
    console.print(
        f"{written.environment}/{written.key} is at version {written.version}, "
        f"revision {written.revision}"
    )


async def _parts(
    file: BinaryIO, size: int, report: Callable[[int, int], None]
) -> AsyncGenerator[bytes, None]:
    done = 0
    while part := file.read(_PART_BYTES):
        yield part
        done += len(part)
        report(done, size)


async def _copy(parts: AsyncGenerator[bytes, None], target: BinaryIO) -> None:
    async with aclosing(parts):
        async for part in parts:
            target.write(part)
