"""Sample data for a first try: one change set in each of two environments, added once."""

from functools import partial

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import ABSENT, ChangeKind, Content, Kind, Operation
from app.database import Connection, Database
from app.environments import service as environments
from app.errors import ForeseenError, NotFound
from app.log import logger
from app.settings import STRICT_TIERS, Settings

log = logger(__name__)

ENVIRONMENTS = ("local", "development")
CONTENTS = {
    "checkout/retries": Content(
        kind=Kind.SETTING,
        value=3,
        schema={"type": "integer", "minimum": 0, "maximum": 10},
        description="How often a payment is tried again.",
    ),
    "checkout/currencies": Content(kind=Kind.SETTING, value=["EUR", "USD", "CHF"]),
    "mail/sender": Content(
        kind=Kind.SETTING, value={"name": "Flagstone", "address": "hello@example.org"}
    ),
    "new-checkout": Content(
        kind=Kind.FLAG,
        value={
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.org"]}, "on", "off"]},
        },
        description="The new checkout, for ourselves first.",
    ),
    "banner-colour": Content(
        kind=Kind.FLAG,
        value={
            "state": "ENABLED",
            "variants": {"red": "#c0392b", "blue": "#2980b9"},
            "defaultVariant": "blue",
            "targeting": {"fractional": [["red", 50], ["blue", 50]]},
        },
        description="Half of the visitors each.",
    ),
}


class SeedRefusedError(ForeseenError):
    """Sample data is not allowed in this tier."""


async def seed(settings: Settings, database: Database) -> list[str]:
    """Add the sample data to environments without changes, if SEED_ON_START is set."""
    if not settings.database.seed_on_start:
        return []
    return await add_test_data(settings, database)


async def add_test_data(settings: Settings, database: Database) -> list[str]:
    """Add the sample data to the environments without changes, and return their names.

    Raises SeedRefusedError in staging and production.
    """
    if settings.tier in STRICT_TIERS:
        raise SeedRefusedError(f"test data is refused in {settings.tier}")
    seeded = [name for name in ENVIRONMENTS if await database.transact(partial(_seed_one, name))]
    if seeded:
        log.info("seeded", environments=seeded)
    return seeded


async def _seed_one(environment: str, connection: Connection) -> bool:
    # Lock the rows: several instances may start at once.
    try:
        if await environments.lock(connection, environment) > 0:
            return False
    except NotFound:
        return False  # The environment was deleted.
    operations = [
        Operation(key=key, content=content, expected=ABSENT) for key, content in CONTENTS.items()
    ]
    await changes.apply(
        connection,
        environment,
        operations,
        actor="system:seed",
        kind=ChangeKind.IMPORT,
        message="Test data for a first look",
        authority=OPERATOR_AUTHORITY,
    )
    return True
