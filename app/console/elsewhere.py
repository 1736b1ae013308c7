"""The entry of one key in several environments, for pages that show them side by side."""

from collections.abc import Collection, Iterable, Mapping

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.snapshots.reading import loaded_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.database import sql
from app.environments.models import Environment
from app.errors import Unavailable
from app.http.keys import DATABASE


async def read_key(
    request: web.Request, key: str, environments: Iterable[Environment]
) -> Mapping[str, Configuration | None]:
    """Return the entry of a key by environment, None where it does not exist.

    Environments in which the caller may not read it are left out.

    An environment that is not in memory is not loaded: the database has the entry. While the
    database is away, such an environment is left out.
    """
    entries: dict[str, Configuration | None] = {}
    absent = []
    for environment in environments:
        if key not in readable_keys(request, environment.name):
            continue
        snapshot = await loaded_snapshot(request, environment.name)
        if snapshot is None:
            absent.append(environment.name)
        else:
            entry = snapshot.entries.get(key)
            entries[environment.name] = entry.configuration if entry is not None else None
    return entries | await _read_rows(request, key, absent) if absent else entries


async def _read_rows(
    request: web.Request, key: str, environments: Collection[str]
) -> dict[str, Configuration | None]:
    try:
        async with request.app[DATABASE].connection() as connection:
            rows = sql.list_entries_of_key(connection, environments=list(environments), key=key)
            found = {row["environment"]: Configuration(**row) async for row in rows}
    except Unavailable:
        return {}
    return {name: found.get(name) for name in environments}
