"""The link with which an operator signs in to the console once."""

from app.access import tokens
from app.access.log import AccessLog
from app.access.models import Grant, Principal
from app.access.sessions import codes
from app.cli.actor import operator, origin
from app.database import Connection
from app.server.banner import local_url
from app.settings import Secret, Settings


async def sign_in_link(
    connection: Connection,
    log: AccessLog,
    key: Secret,
    settings: Settings,
    grant: Grant,
) -> str:
    """Return a new link that signs the operator in. Raises Invalid for an environment."""
    await tokens.check_environments(connection, grant.environments)
    actor = operator()
    principal = Principal(
        actor=actor,
        name=actor.removeprefix("operator:"),
        grant=grant,
    )
    code = await codes.create(connection, log, key, principal, origin=origin())
    base = settings.http.public_url or local_url(settings.http)
    return f"{base}/console/sign-in?code={code.text}"
