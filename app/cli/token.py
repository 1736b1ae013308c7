"""`token`: create, list, rotate and revoke tokens, by access to the database."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from app.access import expiry as lives
from app.access import tokens
from app.access.format import GeneratedToken
from app.access.local_credentials import token_key
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.token_views import TokenView
from app.cli.actor import origin
from app.cli.terminal import console, error_console
from app.database import Connection
from app.scripts import Resources, run_query, run_script

cli = typer.Typer(help="Create, list, rotate and revoke tokens.", no_args_is_help=True)

_PAGE = 500
_Id = Annotated[str, typer.Argument(help="Id of the token, as in `token list`.")]


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the token: its purpose.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Scope, repeatable; read by default.")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(help="Environment, repeatable, * for all; required without --admin."),
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option(
            min=1, help="Days until it expires; for admin tokens 90 by default, at most 365."
        ),
    ] = None,
    *,
    admin: Annotated[
        bool, typer.Option("--admin", help="Grant every scope and environment.")
    ] = False,
) -> None:
    """Create a token and print it. It is stored as a MAC and cannot be printed again."""
    scopes = frozenset(Scope) if admin else frozenset(scope or [Scope.READ])
    environments = frozenset(environment or ([EVERY_ENVIRONMENT] if admin else []))
    if not environments:
        raise typer.BadParameter("name at least one with --environment, or * for all")

    async def work(resources: Resources) -> GeneratedToken:
        key = token_key(resources.settings)
        expires_at = lives.expiry(scopes, expires_days=expires_days)
        grant = Grant(scopes=scopes, environments=environments, expires_at=expires_at)
        return await resources.database.transact(
            lambda c: tokens.create(
                c, resources.access_log, key, name=name, grant=grant, origin=origin()
            )
        )

    # Nothing else on standard output: it may be a pipe into a file or a secret store.
    typer.echo(run_script(work).text)


@cli.command("list")
def list_tokens() -> None:
    """List all tokens, also revoked and expired ones, the oldest first."""

    async def work(resources: Resources) -> list[TokenView]:
        views: list[TokenView] = []
        after: str | None = ""
        async with resources.database.connection() as connection:
            while after is not None:
                page = await tokens.list_page(
                    connection,
                    environments=frozenset({EVERY_ENVIRONMENT}),
                    after=after,
                    limit=_PAGE,
                )
                views += page.items
                after = page.next
        return sorted(views, key=lambda token: token.created_at)

    table = Table("id", "name", "scopes", "environments", "created", "ends", "last used", "")
    for token in run_script(work):
        table.add_row(
            *(token.id, token.name, ", ".join(token.scopes), ", ".join(token.environments)),
            *(_day(token.created_at), _end(token), _day(token.last_used_at)),
            ", ".join(token.remarks),
        )
    console.print(table)


@cli.command()
def show(token_id: _Id) -> None:
    """Show the details of a token."""
    token = run_query(lambda connection: tokens.get(connection, token_id))
    table = Table(show_header=False)
    for title, value in (
        ("id", token.id),
        ("name", token.name),
        ("scopes", ", ".join(token.scopes)),
        ("environments", ", ".join(token.environments)),
        ("created", f"{_day(token.created_at)} by {token.created_by}"),
        ("ends", _end(token)),
        ("replaced by", token.replaced_by or "-"),
        ("last used", _day(token.last_used_at)),
        ("remarks", ", ".join(token.remarks) or "-"),
    ):
        table.add_row(title, value)
    console.print(table)


@cli.command()
def rotate(
    token_id: _Id,
    grace_seconds: Annotated[
        int,
        typer.Option(
            min=0, max=lives.GRACE_SECONDS_MAX, help="Seconds for which the old token stays valid."
        ),
    ] = lives.GRACE_SECONDS,
) -> None:
    """Replace a token by a new one, and print the new one."""

    async def work(resources: Resources) -> tuple[GeneratedToken, TokenView]:
        key = token_key(resources.settings)

        async def replace(connection: Connection) -> tuple[GeneratedToken, TokenView]:
            old = await tokens.lock(connection, token_id)
            new = await tokens.rotate(
                *(connection, resources.access_log, key, old),
                grace_seconds=grace_seconds,
                origin=origin(),
            )
            return new, await tokens.get(connection, token_id)

        return await resources.database.transact(replace)

    new, old = run_script(work)
    typer.echo(new.text)
    error_console.print(f"{old.id} is valid until {old.expires_at:%Y-%m-%d %H:%M:%S %Z}")


@cli.command()
def revoke(token_id: _Id) -> None:
    """Revoke a token. Every instance refuses it within a second."""
    run_script(
        lambda resources: resources.database.transact(
            lambda c: tokens.revoke(c, resources.access_log, token_id, origin=origin())
        )
    )
    console.print(f"revoked {token_id}")


def _end(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {_day(token.revoked_at)}"
    return _day(token.expires_at)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"
