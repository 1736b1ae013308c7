"""`console`: sign in to the web console with access to the database."""

from typing import Annotated

import typer

from app.access import tokens
from app.access.local_credentials import token_key
from app.access.models import EVERY_ENVIRONMENT, EVERY_KEY, PERSONAL_SCOPES, Grant, Scope
from app.cli.help import Commands
from app.cli.sign_in import sign_in_link
from app.cli.terminal import error_console
from app.database import Connection
from app.scripts import Resources, run_transaction

cli = Commands(
    """Sign in to the web console.

    Works on: the database.

    Needs: the settings of the service, in the environment or .env. None in the local tier.
    """
)


@cli.callback()
def console() -> None: ...


@cli.command()
def link(
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="What the session may do, repeatable; all but relay and publish by default."
        ),
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Environment, repeatable; all by default.")
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(help="Only keys that begin with this, repeatable; all keys by default."),
    ] = None,
) -> None:
    """Print a link that signs in to the console once, within 10 minutes.

    It needs no token, so an operator can sign in when every token is lost. The session is that of
    the operator, and lasts for 12 hours at most. The access log has the link and the session.

    Example: python -m app console link --scope read
    """
    if Scope.RELAY in (scope or ()):
        raise typer.BadParameter("--scope relay is for tokens, not for sessions")
    grant = Grant(
        scopes=frozenset(scope or PERSONAL_SCOPES),
        environments=frozenset(environment or {EVERY_ENVIRONMENT}),
        prefixes=tokens.read_prefixes(prefix or [EVERY_KEY]),
        expires_at=None,
    )

    async def write(resources: Resources, connection: Connection) -> str:
        settings = resources.settings
        return await sign_in_link(
            *(connection, resources.access_log, token_key(settings), settings), grant
        )

    # Nothing else on standard output, so that it can be piped into a browser.
    typer.echo(run_transaction(write))
    error_console.print("It works once, within 10 minutes.")
