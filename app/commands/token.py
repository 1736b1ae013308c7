"""`token`: make, list and revoke tokens, with access to the database instead of a token."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.access import tokens
from app.access.events import Origin
from app.access.local import token_key
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.commands.actor import operator
from app.scripts import Resources, run_script

cli = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True)
console = Console()

ADMIN_DAYS = 90
DAYS_MAX = 365


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Repeatable; read if none is given.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Repeatable, or * for all; required without --admin.")
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, help="Days until it expires; admin tokens: 90, at most 365."),
    ] = None,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Every scope and environment.")] = False,
) -> None:
    """Make a token and print it, once: it is stored as a MAC and cannot be shown again."""
    scopes = frozenset(Scope) if admin else frozenset(scope or [Scope.READ])
    environments = frozenset(environment or ([EVERY_ENVIRONMENT] if admin else []))
    if not environments:
        raise typer.BadParameter("name at least one with --environment, or * for all")
    if Scope.ADMIN in scopes:
        expires_days = expires_days or ADMIN_DAYS
        if expires_days > DAYS_MAX:
            raise typer.BadParameter(f"an admin token lives for at most {DAYS_MAX} days")
    expires_at = datetime.now(UTC) + timedelta(days=expires_days) if expires_days else None
    grant = Grant(scopes=scopes, environments=environments, expires_at=expires_at)

    async def work(resources: Resources) -> str:
        key = token_key(resources.settings)
        return await resources.database.transact(
            lambda c: tokens.create(
                c, resources.access_log, key, name=name, grant=grant, origin=_origin()
            )
        )

    # Alone on standard output, so that it can go straight into a file or a secret store.
    typer.echo(run_script(work))


@cli.command("list")
def list_tokens() -> None:
    """List every token that ever was; their secrets are nowhere."""

    async def work(resources: Resources) -> list[tokens.TokenSummary]:
        async with resources.database.connection() as connection:
            return await tokens.list_all(connection)

    table = Table("id", "name", "scopes", "environments", "made", "by", "expires", "revoked")
    for token in run_script(work):
        table.add_row(
            *(token.id, token.name, ", ".join(token.scopes), ", ".join(token.environments)),
            *(_day(token.created_at), token.created_by, _day(token.expires_at)),
            _day(token.revoked_at),
        )
    console.print(table)


@cli.command()
def revoke(token_id: Annotated[str, typer.Argument(help="The id, as `list` shows it.")]) -> None:
    """Revoke a token; every instance refuses it within a second."""

    async def work(resources: Resources) -> None:
        await resources.database.transact(
            lambda c: tokens.revoke(c, resources.access_log, token_id, origin=_origin())
        )

    run_script(work)
    console.print(f"revoked {token_id}")


def _origin() -> Origin:
    return Origin(actor=operator())


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"
