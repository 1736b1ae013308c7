"""`access`: who may do what where, and why."""

from collections.abc import Iterable
from typing import Annotated

import typer

from app.access.local_credentials import token_key
from app.access.models import Scope
from app.access.people import signing
from app.access.people.edit import AccessEdit
from app.access.people.signatures import RowSigner
from app.access.people.views import AccessHolder
from app.cli.actor import origin
from app.cli.backend import run_backend
from app.cli.help import Command, Commands
from app.cli.options import AsJson
from app.cli.terminal import confirm, console, print_json, show_table
from app.database import Connection
from app.names import counted
from app.scripts import Resources, run_script

cli = Commands(
    """Show who may do what where, and why.

    Works on: the database, or a server with --url.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Environment = Annotated[str, typer.Option(help="Name of the environment.")]
_Key = Annotated[str, typer.Option(help="The key, which need not exist.")]
_Scope = Annotated[Scope, typer.Option(help="What to do.")]


@cli.command()
def who(
    environment: _Environment,
    key: _Key,
    scope: _Scope = Scope.READ,
    *,
    as_json: AsJson = False,
) -> None:
    """List the people, groups and tokens that may do something with a key, and why.

    Example: python -m app access who --environment local --key payments/limit --scope write
    """
    holders = run_backend(lambda backend: backend.who_may(scope, environment, key))
    if as_json:
        print_json(holders._asdict())
        return
    for title, listed in (
        ("People", holders.people),
        ("Groups", holders.groups),
        ("Tokens", holders.tokens),
    ):
        show_table(("actor", "name", "why"), _rows(listed), title)


@cli.command()
def check(
    actor: Annotated[
        str,
        typer.Argument(help="person:ID, token:ID, or group:NAME.", metavar="ACTOR"),
    ],
    environment: _Environment,
    key: _Key,
    scope: _Scope = Scope.READ,
    *,
    as_json: AsJson = False,
) -> None:
    """Say whether an actor may do something with a key, and why.

    Example:
        python -m app access check person:ID --environment local --key payments/limit --scope write

    Exit codes:
        0    The actor may.
        1    The actor may not.
    """
    checked = run_backend(lambda backend: backend.check_access(actor, scope, environment, key))
    if as_json:
        print_json(checked)
    else:
        may = "may" if checked.allowed else "may not"
        console.print(f"{checked.actor_name} {may} {scope} {key} in {environment}")
        for text in [reason.text for reason in checked.reasons] or [checked.text]:
            console.print(f"  {text}")
    if not checked.allowed:
        raise typer.Exit(1)


@cli.command(cls=Command)
def sign(
    confirmed: Annotated[
        str | None,
        typer.Option("--confirm", help="The number of rows, instead of the prompt.", metavar="N"),
    ] = None,
) -> None:
    """Sign people, roles, grants and projects that are ignored, because their MAC is wrong.

    That is so after a change of TOKEN_KEY, and after a change outside of the service. Check each
    row: who can write to the database can add rights.

    Works on: the database.

    Example: python -m app access sign
    """

    async def work(resources: Resources) -> int:
        key = token_key(resources.settings)
        async with resources.database.connection() as connection:
            rows = await signing.unsigned_rows(connection, RowSigner(key))
        if not rows:
            return 0
        signed = [row.signed for row in rows]
        show_table(("table", "id", "row"), [(row[0], row[1], " ".join(row[2:])) for row in signed])
        confirm(str(len(rows)), confirmed, "sign this number of rows")

        async def write(connection: Connection) -> int:
            edit = AccessEdit(
                connection=connection,
                log=resources.access_log,
                key=key,
                origin=origin(),
            )
            return await signing.sign(edit, rows)

        return await resources.database.transact(write)

    console.print(f"signed {counted(run_script(work), 'row')}")


def _rows(holders: Iterable[AccessHolder]) -> list[tuple[str, str, str]]:
    """Return a row for each reason. The names stand in the first one."""
    rows = []
    for holder in holders:
        names = (holder.actor, holder.name)
        for reason in holder.reasons:
            rows.append((*names, reason.text))
            names = ("", "")
    return rows
