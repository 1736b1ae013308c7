"""Reading environments. Each function takes the connection first and opens no transaction."""

from app.database import Connection, sql
from app.environments.models import Environment
from app.errors import NotFound, Violation


async def list_all(connection: Connection) -> list[Environment]:
    """Return every environment, by name."""
    return [Environment(**row) async for row in sql.list_environments(connection)]


async def get(connection: Connection, name: str) -> Environment:
    """Return one environment. Raises NotFound."""
    row = await sql.find_environment(connection, name=name)
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


def unknown_environment() -> NotFound:
    """Return the error for a name that no environment has."""
    return NotFound(
        "environment_unknown",
        "There is no such environment.",
        [Violation("environment", "must be one that exists")],
    )
