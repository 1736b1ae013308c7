"""`configuration`: read and write entries, by the services that HTTP uses."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from app.cli import history, transfer
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import delete_entry, find_entry
from app.cli.help import Commands, WritingCommand
from app.cli.history import text_of, write_and_show
from app.cli.options import AsJson, DryRun, EnvironmentName, Message
from app.cli.terminal import console, error_console, print_json, show_table
from app.configuration.changes.models import Kind
from app.configuration.changes.requests import NewChangeSet
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.errors import Malformed, invalid, malformed
from app.http.decoder import check_nodes, decode, parse

cli = Commands(
    """Read and write entries: settings, flags, segments and secrets.

    Works on: the database, or a server with --url. Other servers follow within 2 seconds.

    Needs: the settings of the service; KEY_RING_FILE or KEY_COMMAND for secrets. With --url only a
    token.
    """,
    is_remote=True,
)

cli.add_typer(history.cli)
cli.add_typer(transfer.cli)

Key = Annotated[str, typer.Argument(help="Key of the entry.")]


@cli.command("get")
def get(
    environment: EnvironmentName,
    key: Key,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print the value of a secret.")] = False,
) -> None:
    """Print an entry as JSON.

    A secret is masked. --reveal prints it, and the access log records that.

    Example: python -m app configuration get local greeting
    """
    print_json(run_backend(lambda backend: backend.get_entry(environment, key, reveal=reveal)))


@cli.command("set", cls=WritingCommand)
def set_value(
    environment: EnvironmentName,
    key: Key,
    value: Annotated[
        str, typer.Argument(help="Value as JSON, or - to read it from standard input.")
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="Kind of a new entry; by default setting.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            help="Write only if the entry has this version. 0: only if there is no entry."
        ),
    ] = None,
    message: Message = "",
    *,
    description: Annotated[
        str | None, typer.Option(help="New description; an empty text removes it.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Store the value as text, without parsing JSON.")
    ] = False,
) -> None:
    """Create an entry, or change its value.

    Its JSON Schema stays, and its description unless --description is given. A secret must come
    from standard input, because every account of this machine can read the arguments of a process:
    `configuration set local db/password - --kind secret --text < password.txt`

    Example: python -m app configuration set local greeting '"Hello"'
    """
    given = sys.stdin.read().removesuffix("\n") if value == "-" else value
    parsed: Any = given
    if text:
        check_nodes(given, root="value")
    else:
        parsed = _json(given)

    async def write(backend: Backend) -> tuple[WriteResult, Kind]:
        current = await find_entry(backend, environment, key)
        stored_as = Kind(current.kind) if current else kind or Kind.SETTING
        if kind not in {None, stored_as}:
            raise invalid("--kind", f"cannot change: this entry is a {stored_as}")
        if value != "-" and stored_as is Kind.SECRET:
            rule = "must be -, so that a secret comes from standard input"
            raise invalid(
                "value", f"{rule}; replace this secret, because other accounts could read it"
            )
        kept = current.description if current else None
        new = NewConfiguration(
            value=parsed,
            kind=stored_as.value,
            schema=current.schema if current else None,
            description=kept if description is None else description or None,
            message=message,
        )
        expected = version if version is not None else current.version if current else 0
        return await backend.put_entry(environment, key, new, expected), stored_as

    written, stored_as = run_backend(write)
    console.print(
        f"{environment}/{key} is at version {written.version}, revision {written.revision}"
    )
    looks_like_flag = isinstance(parsed, dict) and {"state", "variants"} <= parsed.keys()
    if stored_as is Kind.SETTING and looks_like_flag:
        error_console.print(f"{key} looks like a flag. A new entry needs --kind flag to be one.")


def _json(given: str) -> Any:
    try:
        return parse(given.encode(errors="surrogateescape"), root="VALUE")
    except Malformed as error:
        raise malformed("VALUE", f"{error.violations[0].rule}; --text stores it as text") from None


@cli.command("apply", cls=WritingCommand)
def apply(
    environment: EnvironmentName,
    file: Annotated[str, typer.Argument(help="File with the change set, or - for standard input.")],
    message: Annotated[
        str, typer.Option("--message", "-m", help="Reason for the change, instead of the file's.")
    ] = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Write several entries as one change set, from JSON as in POST /v1/…/changes of the API.

    Each operation has the version that its entry must have, and 0 for a new key:
    `{"message": "…", "operations": [{"op": "put", "key": "a", "version": 0, "value": 1}]}`

    Example: python -m app configuration apply local changes.json --dry-run
    """
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    body = decode(raw, NewChangeSet)
    body = msgspec.structs.replace(body, message=message or body.message)
    write_and_show(
        lambda backend: backend.apply(environment, body, dry_run=dry_run), dry_run=dry_run
    )


@cli.command("delete", cls=WritingCommand)
def delete(
    environment: EnvironmentName,
    key: Key,
    version: Annotated[
        int | None, typer.Option(min=1, help="Delete only if the entry has this version.")
    ] = None,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Delete an entry. The history stays, and `configuration revert` restores the entry.

    Example: python -m app configuration delete local greeting -m "Not used any more"
    """
    delete_entry(environment, key, version, message, dry_run=dry_run)


@cli.command("list")
def list_entries(
    environment: EnvironmentName,
    prefix: Annotated[str, typer.Option(help="List only keys that begin with this.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="List only entries of this kind.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the entries of an environment. Secrets are masked.

    Example: python -m app configuration list local --kind flag
    """
    entries = run_backend(lambda b: b.list_entries(environment, prefix=prefix, kind=kind))
    if as_json:
        print_json(entries)
        return
    show_table(
        ("key", "kind", "version", "value"),
        [(e.key, e.kind, e.version, text_of(e)) for e in entries],
    )
