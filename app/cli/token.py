"""`token`: create, list, show, rotate and revoke tokens."""

from datetime import datetime
from typing import Annotated

import typer

from app.access import expiry
from app.access.models import EVERY_ENVIRONMENT, EVERY_KEY, PERSONAL_SCOPES, Scope
from app.access.token_views import IssuedToken, NewToken, TokenView
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.people_text import advise_on
from app.cli.terminal import console, error_console, print_json, show_table

cli = Commands(
    """Create, list, rotate and revoke tokens.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Id = Annotated[str, typer.Argument(help="ID of the token, as in `token list`.", metavar="ID")]


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="Purpose of the token, for the list and the logs.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What the token may do, repeatable; read by default.")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(help="Environment, repeatable, * for all. Required without --admin."),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(help="Only keys that begin with this, repeatable; all keys by default."),
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option(
            min=1, help="Days until it expires. Admin tokens: 90 by default, at most 365."
        ),
    ] = None,
    *,
    admin: Annotated[
        bool,
        typer.Option(
            "--admin", help="Grant every scope but relay and publish, and every environment."
        ),
    ] = False,
) -> None:
    """Create a token and print it.

    It is stored as a MAC and cannot be printed again.

    Example:
        python -m app token create ci --scope read --environment local
    """
    scopes = sorted(PERSONAL_SCOPES) if admin else scope or [Scope.READ]
    environments = environment or ([EVERY_ENVIRONMENT] if admin else [])
    if not environments:
        raise typer.BadParameter("give --environment NAME, repeatable, or * for all of them")
    advise_on(*(prefix or ()))
    new = NewToken(
        name=name,
        scopes=scopes,
        environments=environments,
        prefixes=prefix or [EVERY_KEY],
        expires_days=expires_days,
    )
    # Nothing else on standard output: it may be a pipe into a file or a secret store.
    typer.echo(run_backend(lambda backend: backend.create_token(new)).text)


@cli.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List all tokens, also revoked and expired ones, the oldest first.

    Example: python -m app token list
    """
    tokens = run_backend(lambda backend: backend.list_tokens())
    tokens.sort(key=lambda token: token.created_at)
    if as_json:
        print_json(tokens)
        return
    show_table(
        ("id", "name", "scopes", "environments", "keys", "ends", "last used", "remarks"),
        [
            (
                *(token.id, token.name, ", ".join(token.scopes), ", ".join(token.environments)),
                *(_keys(token), _end(token), _day(token.last_used_at), ", ".join(token.remarks)),
            )
            for token in tokens
        ],
    )


@cli.command()
def show(token_id: _Id) -> None:
    """Show the details of a token.

    Example: python -m app token show ID
    """
    token = run_backend(lambda backend: backend.get_token(token_id))
    rows = (
        ("name", token.name),
        ("scopes", ", ".join(token.scopes)),
        ("environments", ", ".join(token.environments)),
        ("keys", _keys(token)),
        ("created", f"{_day(token.created_at)} by {token.created_by_name or token.created_by}"),
        ("ends", _end(token)),
        ("replaced by", token.replaced_by or "-"),
        ("last used", _day(token.last_used_at)),
        ("remarks", ", ".join(token.remarks) or "-"),
    )
    show_table(("id", token.id), rows)


@cli.command()
def rotate(
    token_id: _Id,
    grace_seconds: Annotated[
        int,
        typer.Option(
            min=0, max=expiry.GRACE_SECONDS_MAX, help="Seconds for which the old token stays valid."
        ),
    ] = expiry.GRACE_SECONDS,
) -> None:
    """Replace a token by a new one, and print the new one.

    Both are valid until the grace time ends.

    Example: python -m app token rotate ID --grace-seconds 3600
    """

    async def write(backend: Backend) -> tuple[IssuedToken, TokenView]:
        issued = await backend.rotate_token(token_id, grace_seconds)
        return issued, await backend.get_token(token_id)

    new, old = run_backend(write)
    typer.echo(new.text)
    error_console.print(f"{old.id} is valid until {old.expires_at:%Y-%m-%d %H:%M:%S %Z}")


@cli.command()
def revoke(token_id: _Id) -> None:
    """Revoke a token. Every instance refuses it within a second.

    Example: python -m app token revoke ID
    """
    run_backend(lambda backend: backend.revoke_token(token_id))
    console.print(f"revoked {token_id}")


def _keys(token: TokenView) -> str:
    prefixes = ", ".join(token.prefixes)
    return prefixes or "all"


def _end(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {_day(token.revoked_at)}"
    return _day(token.expires_at)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"
