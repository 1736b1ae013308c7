"""`configuration`: read and write entries over the same services as HTTP, with the pool."""

import sys
from typing import Annotated, Any, NamedTuple

import msgspec
import typer
from rich.table import Table

from app.access.events import AccessEvent, Origin
from app.cli import history, transfer
from app.cli.actor import operator
from app.cli.history import MASK
from app.cli.terminal import console
from app.configuration.changes import service as changes
from app.configuration.changes.content_rules import find_format_error
from app.configuration.changes.models import Kind, Operation
from app.configuration.changes.rows import read_entries
from app.configuration.entries import service
from app.configuration.entries.models import NewConfiguration
from app.configuration.snapshots.snapshot import Configuration
from app.database import Connection
from app.errors import Malformed, invalid, malformed
from app.http.conditions import ExpectedVersion
from app.http.decoder import check_nodes, parse
from app.scripts import Resources, run_script

cli = typer.Typer(help="Read and write configurations.", no_args_is_help=True)

cli.add_typer(history.cli)
cli.add_typer(transfer.cli)

_PAGE = 500
Environment = Annotated[str, typer.Argument(help="Name of the environment.")]
Key = Annotated[str, typer.Argument(help="Key of the entry.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]


class Given(NamedTuple):
    """A value from the command line; `is_argument` when every account could see it there."""

    value: Any
    is_argument: bool


@cli.command("get")
def get(
    environment: Environment,
    key: Key,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="A secret in clear.")] = False,
) -> None:
    """Print one entry as JSON; a secret is masked, and revealing it goes into the access log."""

    async def work(resources: Resources) -> Configuration:
        vault = resources.vault if reveal else None

        async def read(connection: Connection) -> Configuration:
            found, _, _ = await service.get(connection, environment, key, vault=vault)
            if reveal and found.kind == Kind.SECRET:
                access = Origin(actor=operator()).did(
                    AccessEvent.SECRET_READ,
                    environment=environment,
                    resource=key,
                    version=found.version,
                )
                await resources.access_log.record(connection, access)
            return found

        return await resources.database.transact(read)

    typer.echo(msgspec.json.format(msgspec.json.encode(run_script(work))).decode())


@cli.command("set")
def set_value(
    environment: Environment,
    key: Key,
    value: Annotated[
        str, typer.Argument(help="The value, as JSON; - reads it from standard input.")
    ],
    kind: Annotated[Kind, typer.Option(help="Of a new entry.")] = Kind.SETTING,
    version: Annotated[
        int | None, typer.Option(help="Write only at this version; 0 for a new entry.")
    ] = None,
    message: Message = "",
    *,
    text: Annotated[bool, typer.Option("--text", help="Take the value as a text.")] = False,
) -> None:
    """Create or change one entry; its description and schema stay.

    A secret must come from standard input, as an argument shows in the list of processes.
    """
    given = sys.stdin.read().removesuffix("\n") if value == "-" else value
    parsed: Any = given
    if text:
        check_nodes(given, root="value")
    else:
        parsed = _json(given)

    async def work(resources: Resources) -> tuple[int, int | None]:
        return await resources.database.transact(
            lambda c: _set(
                c,
                environment,
                key,
                Given(parsed, is_argument=value != "-"),
                kind=kind,
                version=version,
                message=message,
                resources=resources,
            )
        )

    revision, new_version = run_script(work)
    console.print(f"{environment}/{key} is at version {new_version}, revision {revision}")


def _json(given: str) -> Any:
    try:
        return parse(given.encode(errors="surrogateescape"), root="VALUE")
    except Malformed as error:
        raise malformed("VALUE", f"{error.violations[0].rule}; --text stores it as text") from None


async def _set(
    connection: Connection,
    environment: str,
    key: str,
    given: Given,
    *,
    kind: Kind,
    version: int | None,
    message: str,
    resources: Resources,
) -> tuple[int, int | None]:
    entries = await read_entries(connection, environment, [service.check_key(key)])
    found = entries[key].content
    if given.is_argument and Kind.SECRET in {kind, found.kind if found else kind}:
        rule = "must be -, so that a secret comes from standard input"
        raise invalid("value", f"{rule}; replace this one, which the list of processes has shown")
    content = service.content_from(
        NewConfiguration(
            value=given.value,
            kind=found.kind.value if found else kind.value,
            schema=found.schema if found else None,
            description=found.description if found else None,
        )
    )
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
    environment: Environment,
    prefix: Annotated[str, typer.Option(help="Only keys that begin with this.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only entries of this kind.")] = None,
) -> None:
    """List an environment's entries."""

    async def work(resources: Resources) -> list[Configuration]:
        found: list[Configuration] = []
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
            found += page.items
            after = page.next
        return found

    table = Table("key", "kind", "version", "value")
    for entry in run_script(work):
        text = MASK if entry.sealed else msgspec.json.encode(entry.value).decode()
        shown = text if len(text) <= 60 else text[:59] + "…"
        table.add_row(entry.key, entry.kind, str(entry.version), shown)
    console.print(table)
