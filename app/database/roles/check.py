"""Whether the service speaks to the database with more power than it needs."""

from collections.abc import Sequence

from app.database.client.pool import Connection, Database
from app.database.client.statements import sql
from app.database.roles.privileges import APPEND_ONLY
from app.errors import ForeseenError
from app.log import logger
from app.settings import STRICT_TIERS, Tier

log = logger(__name__)

CLOSE_PUBLIC = "revoke create on schema public from public"
_OPEN_PUBLIC = "may make objects in the schema public"
# The server's version since which a right to a setting can be given.
_PARAMETERS_FROM = 15


class OverprivilegedError(ForeseenError):
    """The app role could do more than its job; staging and production refuse it."""


async def check_role(database: Database, tier: Tier) -> None:
    """Look at the role of the pool: fine in local, a warning in development, else refused.

    Raises OverprivilegedError; Unavailable when the database is away.
    """
    if tier is Tier.LOCAL:
        return
    async with database.connection() as connection:
        powers = await role_powers(connection)
    if not powers:
        return
    if tier in STRICT_TIERS:
        raise OverprivilegedError(
            f"DATABASE_URL: the role {', '.join(powers)}, which {tier} refuses; {_advice(powers)}"
        )
    log.warning("role_overprivileged", powers=powers)


def _advice(powers: Sequence[str]) -> str:
    if [*powers] == [_OPEN_PUBLIC]:
        # Every role may, so another role would not help.
        return f"the owner of that schema or a superuser must run: {CLOSE_PUBLIC}"
    return "use the app role that `python -m app database provision` makes"


async def role_powers(connection: Connection) -> list[str]:
    """Return all that the role may do beyond the service's job, each as the rest of a sentence."""
    rows = sql.list_role_powers(connection, append_only=list(APPEND_ONLY))
    powers = [row["power"] async for row in rows]
    if connection.get_server_version().major >= _PARAMETERS_FROM:
        powers += [row["power"] async for row in sql.list_parameter_powers(connection)]
    return powers
