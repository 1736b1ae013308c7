"""Read an environment as of a revision or a time, and which keys changed between two revisions."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from app.access.permissions import Keys
from app.configuration.changes.models import Entry, Kind
from app.configuration.changes.rows import all_pages, batches_of, entry_of
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.environments.protection import protection_of
from app.errors import NotFound

# A revision, or a time.
Moment = int | datetime
# To read 2,000 changes takes as long as to look up the changes of about 100 keys.
NEAR_REVISIONS = 2_000
# The default page of a difference has 100 changes.
KEYS_AT_ONCE = 125


async def revision_of(connection: Connection, environment: str, moment: Moment) -> int:
    """Return the revision at a moment. Raises NotFound for a revision that does not exist.

    The time of a revision is the start of its transaction, by PostgreSQL's clock.
    """
    current = await environments.get(connection, environment)
    first = current.first_revision
    if isinstance(moment, datetime):
        revision: int | None = await sql.find_revision_at(
            connection, environment=environment, at=moment
        )
        return max(revision or 0, first - 1)
    if not first - 1 <= moment <= current.revision:
        raise unknown_revision()
    return moment


async def list_keys_at(
    connection: Connection,
    environment: str,
    revision: int,
    *,
    keys: Keys,
    kind: Kind | None = None,
    after: str = "",
    limit: int,
) -> list[str]:
    """Return the first of the keys that had an entry at a revision, in order."""
    rows = sql.list_keys_at(
        connection,
        environment=environment,
        revision=revision,
        prefixes=list(keys.prefixes),
        kind=kind,
        after_key=after,
        page_size=limit,
    )
    return [row["key"] async for row in rows]


async def all_entries_at(
    connection: Connection, environment: str, revision: int, *, keys: Keys
) -> dict[str, Entry]:
    """Return all entries of these keys as of a revision, by key. Raises NotFound."""
    pages = all_pages(
        sql.list_keys_at,
        connection,
        environment=environment,
        revision=revision,
        prefixes=list(keys.prefixes),
        kind=None,
    )
    names = [row["key"] async for row in pages]
    return await entries_at(connection, environment, revision, names)


async def entries_at(
    connection: Connection, environment: str, revision: int, keys: Sequence[str]
) -> dict[str, Entry]:
    """Return the entries of these keys as of a revision, by key. Raises NotFound."""
    current = await environments.get(connection, environment)
    if not current.first_revision - 1 <= revision <= current.revision:
        raise unknown_revision()
    entries: dict[str, Entry] = {}
    for batch in batches_of(keys):
        rows = sql.list_contents_at(
            connection, environment=environment, revision=revision, keys=batch
        )
        entries |= {row["key"]: entry_of(environment, row) async for row in rows}
    return entries


async def changed_keys(
    connection: Connection,
    environment: str,
    after: int,
    until: int,
    *,
    keys: Keys,
    after_key: str = "",
) -> AsyncGenerator[list[str], None]:
    """Yield pages of those keys that changed between two revisions: at least one page."""
    is_near = until - after <= NEAR_REVISIONS
    list_keys = sql.list_changed_keys if is_near else sql.probe_changed_keys
    prefixes = keys.filter if is_near else list(keys.prefixes)
    while True:
        rows = list_keys(
            connection,
            environment=environment,
            after_revision=after,
            up_to_revision=until,
            prefixes=prefixes,
            after_key=after_key,
            page_size=KEYS_AT_ONCE,
        )
        names = [row["key"] async for row in rows]
        yield names
        if len(names) < KEYS_AT_ONCE:
            return
        after_key = names[-1]


async def properties_at(
    connection: Connection, environment: Environment, revision: int
) -> Properties:
    row = await sql.find_properties_at(connection, environment=environment.name, revision=revision)
    if row is None:
        return environment.properties
    return Properties(**{**row, "protection": protection_of(row["protection"])})


async def environment_at(connection: Connection, name: str, moment: Moment) -> Environment:
    """Return an environment as of a moment. Raises NotFound."""
    environment = await environments.get(connection, name)
    revision = await revision_of(connection, name, moment)
    return environment.at(revision, await properties_at(connection, environment, revision))


def unknown_revision() -> NotFound:
    return NotFound("revision_unknown", "The environment has no such revision.")
