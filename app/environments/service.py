"""Reading and making environments. Each function takes the connection first and opens none."""

from app.database import Connection, sql
from app.environments.models import Environment
from app.errors import Conflict, NotFound, Violation, invalid
from app.names import ENVIRONMENT_RULE, is_environment

# Each is a snapshot in every process, and a follower's read at every change.
ENVIRONMENTS_MAX = 200
UNKNOWN = "environment_unknown"


async def list_all(connection: Connection, *, with_deleted: bool = False) -> list[Environment]:
    """Return every environment, by name; deleted ones as they were closed, for proofs."""
    rows = sql.list_environments(connection, with_deleted=with_deleted)
    return [Environment(**row) async for row in rows]


async def get(connection: Connection, name: str, *, with_deleted: bool = False) -> Environment:
    """Return one environment. Raises NotFound."""
    row = await sql.find_environment(connection, name=name, with_deleted=with_deleted)
    if row is None:
        raise unknown_environment()
    return Environment(**row)


async def lock(connection: Connection, name: str) -> int:
    """Return the revision and keep every other writer out until the transaction ends."""
    row = await sql.lock_environment(connection, name=name)
    if row is None:
        raise unknown_environment()
    revision: int = row["revision"]
    return revision


async def insert(connection: Connection, name: str, tier: str) -> None:
    """Make an environment with the properties that all begin with.

    One of the name of a deleted environment has a new epoch, and its revisions go on from there.

    Raises Invalid for its name, Conflict for one that is taken or when there are too many.
    """
    if not is_environment(name):
        raise invalid("name", ENVIRONMENT_RULE)
    await sql.lock_making_environments(connection)
    if await sql.count_environments(connection) >= ENVIRONMENTS_MAX:
        raise Conflict("environments_full", f"There are {ENVIRONMENTS_MAX} environments already.")
    if not await sql.insert_environment(connection, name=name, tier=tier):
        raise Conflict(
            "environment_taken",
            "There is an environment of this name.",
            [Violation("name", "must be of no other environment")],
        )


def unknown_environment() -> NotFound:
    """Return the error for a name that no environment has."""
    return NotFound(
        UNKNOWN,
        "There is no such environment.",
        [Violation("environment", "must be one that exists")],
    )
