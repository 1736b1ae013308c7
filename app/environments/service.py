"""Read and create environments on the caller's connection."""

from app.database import Connection, sql
from app.environments.models import Environment, environment_of
from app.errors import Conflict, NotFound, Violation, invalid
from app.names import ENVIRONMENT_RULE, is_environment

# Each environment has a snapshot in every process, which reads it at every change.
ENVIRONMENTS_MAX = 200
UNKNOWN = "environment_unknown"


async def list_all(connection: Connection, *, with_deleted: bool = False) -> list[Environment]:
    """Return every environment, ordered by name. The audit also reads deleted ones."""
    rows = sql.list_environments(connection, name=None, with_deleted=with_deleted)
    return [environment_of(row) async for row in rows]


async def get(connection: Connection, name: str, *, with_deleted: bool = False) -> Environment:
    """Return one environment. Raises NotFound."""
    async for row in sql.list_environments(connection, name=name, with_deleted=with_deleted):
        return environment_of(row)
    raise unknown_environment()


async def lock(connection: Connection, name: str) -> int:
    """Return the revision, and block other writers until the transaction ends. Raises NotFound."""
    row = await sql.lock_environment(connection, name=name)
    if row is None:
        raise unknown_environment()
    revision: int = row["revision"]
    return revision


async def insert(connection: Connection, name: str, tier: str) -> None:
    """Create an environment with the default properties.

    After a deleted environment of the same name, its revisions continue in a new epoch. Raises
    Invalid for the name, and Conflict when the name is taken or the limit of 200 is reached.
    """
    if not is_environment(name):
        raise invalid("name", ENVIRONMENT_RULE)
    await sql.take_lock(connection, name="environment_creation")
    if len(await list_all(connection)) >= ENVIRONMENTS_MAX:
        message = f"The limit of {ENVIRONMENTS_MAX} environments is reached. Delete one first."
        raise Conflict("environments_full", message)
    if not await sql.insert_environment(connection, name=name, tier=tier):
        raise Conflict(
            "environment_taken",
            "An environment of this name exists.",
            [Violation("name", "must not be the name of an existing environment")],
        )


def unknown_environment() -> NotFound:

    return NotFound(
        UNKNOWN,
        "There is no such environment.",
        [Violation("environment", "must be one that exists")],
    )
