"""`console`: sign in to the web console with access to the database."""

from typing import Annotated

import typer

from app.access import tokens
from app.access.local_credentials import token_key
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, Grant, Principal, Scope
from app.access.sessions import codes
from app.cli.actor import operator, origin
from app.cli.help import Commands
from app.cli.terminal import error_console
from app.database import Connection
from app.scripts import Resources, run_transaction
from app.server.banner import local_url
from app.settings import Secret, Settings

cli = Commands(
    """Sign in to the web console.

    Works on: the database.

    Needs: the settings of the service, in the environment or .env. None in the local tier.
    """
)

EVERYWHERE = frozenset({EVERY_ENVIRONMENT})


@cli.callback()
def console() -> None: ...


@cli.command()
def link(
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the session may do, repeatable; all by default."),
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Environment, repeatable; all by default.")
    ] = None,
) -> None:
    """Print a link that signs in to the console once, within 10 minutes.

    It needs no token, so an operator can sign in when every token is lost. The session is that of
    the operator, and lasts for 12 hours at most. The access log has the link and the session.

    Example: python -m app console link --scope read
    """
    scopes = frozenset(scope or Scope)
    environments = frozenset(environment or EVERYWHERE)

    async def write(resources: Resources, connection: Connection) -> str:
        settings = resources.settings
        return await sign_in_link(
            *(connection, resources.access_log, token_key(settings), settings),
            *(scopes, environments),
        )

    # Nothing else on standard output, so that it can be piped into a browser.
    typer.echo(run_transaction(write))
    error_console.print("It works once, within 10 minutes.")


async def sign_in_link(
    connection: Connection,
    log: AccessLog,
    key: Secret,
    settings: Settings,
    scopes: frozenset[Scope],
    environments: frozenset[str],
) -> str:
    """Return a new link that signs the operator in. Raises Invalid for an environment."""
    await tokens.check_environments(connection, environments)
    actor = operator()
    principal = Principal(
        actor=actor,
        name=actor.removeprefix("operator:"),
        grant=Grant(scopes=scopes, environments=environments, expires_at=None),
    )
    code = await codes.create(connection, log, key, principal, origin=origin())
    base = settings.http.public_url or local_url(settings.http)
    return f"{base}/console/sign-in?code={code.text}"
