"""Check whether the role of the service has more powers than it needs."""

from collections.abc import Sequence

from app.database.client.pool import Connection, Database
from app.database.client.statements import sql
from app.database.roles.rights import APPEND_ONLY
from app.errors import ForeseenError
from app.log import logger
from app.program import PROGRAM
from app.settings import STRICT_TIERS, Tier

log = logger(__name__)

CLOSE_PUBLIC = "revoke create on schema public from public"
_OPEN_PUBLIC = "may create objects in the schema public"
# The first version of PostgreSQL with rights to settings.
_PARAMETERS_SINCE = 15


class OverprivilegedError(ForeseenError):
    """The role has more powers than it needs. Staging and production refuse it."""


async def check_role(database: Database, tier: Tier) -> None:
    """Check the role of the pool. Skip it in local; in development only warn.

    Raises OverprivilegedError in the other tiers, and Unavailable if the database is away.
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
        # Every role may do it, so another role would not help.
        return f"the owner of that schema or a superuser must run: {CLOSE_PUBLIC}"
    return f"use the app role that `{PROGRAM} database provision` creates"


async def role_powers(connection: Connection) -> list[str]:
    """Return each power that the service does not need, as the predicate of a sentence."""
    rows = sql.list_role_powers(connection, append_only=list(APPEND_ONLY))
    powers = [row["power"] async for row in rows]
    if connection.get_server_version().major >= _PARAMETERS_SINCE:
        powers += [row["power"] async for row in sql.list_parameter_powers(connection)]
    return powers
