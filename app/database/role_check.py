"""Whether the service speaks to the database with more power than it needs."""

from app.database.pool import Database
from app.database.statements import sql
from app.log import logger
from app.settings import STRICT_TIERS, Tier

log = logger(__name__)


class OverprivilegedError(Exception):
    """The app role could change the schema or its own history; staging and production refuse it."""


async def check_role(database: Database, tier: Tier) -> None:
    """Look at the role of the pool: fine in local, a warning in development, else refused.

    Raises OverprivilegedError; Unavailable when the database is away.
    """
    if tier is Tier.LOCAL:
        return
    async with database.connection() as connection:
        power = await sql.get_role_power(connection)
    if not power["is_superuser"] and not power["owns_tables"]:
        return
    what = "is a superuser" if power["is_superuser"] else "owns the tables"
    if tier in STRICT_TIERS:
        raise OverprivilegedError(
            f"DATABASE_URL: the role {what}, which {tier} refuses; use the app role that "
            "`python -m app database provision` makes"
        )
    log.warning("role_overprivileged", role=what)
