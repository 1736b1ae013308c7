"""`configuration`: read and write entries, by the services that HTTP uses."""

import sys
from typing import Annotated, Any

import typer

from app.access.events import AccessEvent
from app.cli import history, transfer
from app.cli.actor import operator, origin
from app.cli.help import Commands
from app.cli.history import text_of
from app.cli.options import EnvironmentName, Message
from app.cli.terminal import console, error_console, print_json, show_table
from app.configuration.changes import service as changes
from app.configuration.changes.content_checks import find_format_error
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.rows import read_entries
from app.configuration.entries import service
from app.configuration.snapshots.snapshot import Configuration
from app.database import Connection
from app.errors import Malformed, invalid, malformed
from app.http.conditions import ExpectedVersion
from app.http.decoder import check_nodes, parse
from app.scripts import Resources, run_script, run_transaction

cli = Commands(
    """Read and write entries: settings, flags, segments and secrets.

    Works on: the database. A running server follows within 2 seconds.

    Needs: the settings of the service; KEY_RING_FILE or KEY_COMMAND for secrets.
    """
)

cli.add_typer(history.cli)
cli.add_typer(transfer.cli)

_PAGE = 500
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

    async def read(resources: Resources, connection: Connection) -> Configuration:
        vault = resources.vault if reveal else None
        entry, _, _ = await service.get(connection, environment, key, vault=vault)
        if reveal and entry.kind == Kind.SECRET:
            access = origin().did(
                AccessEvent.SECRET_READ,
                environment=environment,
                resource=key,
                version=entry.version,
            )
            await resources.access_log.record(connection, access)
        return entry

    print_json(run_transaction(read))


@cli.command("set")
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
    text: Annotated[
        bool, typer.Option("--text", help="Store the value as text, without parsing JSON.")
    ] = False,
) -> None:
    """Create an entry, or change its value.

    Its description and its JSON Schema stay. A secret must come from standard input, because every
    account of this machine can read the arguments of a process:
    `configuration set local db/password - --kind secret --text < password.txt`

    Example: python -m app configuration set local greeting '"Hello"'
    """
    given = sys.stdin.read().removesuffix("\n") if value == "-" else value
    parsed: Any = given
    if text:
        check_nodes(given, root="value")
    else:
        parsed = _json(given)

    async def write(resources: Resources, connection: Connection) -> tuple[int, int | None, Kind]:
        entries = await read_entries(connection, environment, [service.check_key(key)])
        current = entries[key].content
        stored_as = current.kind if current else kind or Kind.SETTING
        if kind not in {None, stored_as}:
            raise invalid("--kind", f"cannot change: this entry is a {stored_as}")
        if value != "-" and stored_as is Kind.SECRET:
            rule = "must be -, so that a secret comes from standard input"
            raise invalid(
                "value", f"{rule}; replace this secret, because other accounts could read it"
            )
        content = Content(
            kind=stored_as,
            value=parsed,
            schema=current.schema if current else None,
            description=current.description if current else None,
        )
        revision, new_version = await write_content(
            connection,
            environment,
            key,
            content,
            version=version,
            message=message,
            resources=resources,
        )
        return revision, new_version, stored_as

    revision, new_version, stored_as = run_transaction(write)
    console.print(f"{environment}/{key} is at version {new_version}, revision {revision}")
    looks_like_flag = isinstance(parsed, dict) and {"state", "variants"} <= parsed.keys()
    if stored_as is Kind.SETTING and looks_like_flag:
        error_console.print(f"{key} looks like a flag. A new entry needs --kind flag to be one.")


def _json(given: str) -> Any:
    try:
        return parse(given.encode(errors="surrogateescape"), root="VALUE")
    except Malformed as error:
        raise malformed("VALUE", f"{error.violations[0].rule}; --text stores it as text") from None


async def write_content(
    connection: Connection,
    environment: str,
    key: str,
    content: Content,
    *,
    version: int | None,
    message: str,
    resources: Resources,
) -> tuple[int, int | None]:
    """Store a content, and return the revision and the version.

    `version` is the expected one; 0 expects no entry, and None any.
    """
    with resources.checkers.request() as check:
        refusal = find_format_error(content, check)
    expected = None if version is None else ExpectedVersion(version=version or None)
    operation = Operation(key=key, content=content, expected=expected, refusal=refusal)
    change_set = await changes.apply(
        connection,
        environment,
        [operation],
        actor=operator(),
        message=message,
        vault=resources.vault,
    )
    return change_set.revision, change_set.changes[0].version


@cli.command("list")
def list_entries(
    environment: EnvironmentName,
    prefix: Annotated[str, typer.Option(help="List only keys that begin with this.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="List only entries of this kind.")] = None,
) -> None:
    """List the entries of an environment. Secrets are masked.

    Example: python -m app configuration list local --kind flag
    """

    async def work(resources: Resources) -> list[Configuration]:
        entries: list[Configuration] = []
        after: str | None = ""
        while after is not None:
            async with resources.database.connection() as connection:
                page, _ = await service.list_page(
                    connection,
                    environment,
                    prefix=prefix,
                    kind=kind,
                    after=after,
                    limit=_PAGE,
                )
            entries += page.items
            after = page.next
        return entries

    show_table(
        ("key", "kind", "version", "value"),
        [(e.key, e.kind, e.version, text_of(e)) for e in run_script(work)],
    )
