"""Past states of environments: built in a thread, and a few of them cached.

A past state never changes, so a page of the past, its tabs and its pager share one snapshot. Each
has all keys: `read_state` limits it to those of the caller.
"""

import asyncio
from collections import OrderedDict
from functools import partial

from app.access.permissions import ALL_KEYS
from app.configuration.changes.past import Moment, environment_at
from app.configuration.entries import service as entries
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.database import Database
from app.environments.models import Environment
from app.threads import in_turn

# A snapshot of 10,000 flags takes about 100 MB, so few of them fit into memory.
ENTRIES_MAX = 20_000
SNAPSHOTS_MAX = 8
# Decoding more rows at once would hold the event loop.
_PAGE_SIZE = 200

# The epoch changes when a backup is restored, and the first revision when the environment is
# created again.
Key = tuple[str, str, int, int]


class PastStates:
    """The snapshots of past revisions that were read last."""

    def __init__(self) -> None:
        self._snapshots: OrderedDict[Key, Snapshot] = OrderedDict()
        self._lock = asyncio.Lock()

    async def read(self, database: Database, name: str, moment: Moment) -> Snapshot:
        """Return an environment as of a moment. Secrets are masked. Raises NotFound, Unavailable.

        A deleted environment is not found, as on every other page.
        """
        async with database.connection() as connection:
            environment = await environment_at(connection, name, moment)
        key = (name, environment.epoch, environment.first_revision, environment.revision)
        # Without the lock, the parts of a page would build the same state several times.
        async with self._lock:
            if key not in self._snapshots:
                self._snapshots[key] = await _build(database, environment)
            self._snapshots.move_to_end(key)
            self._forget_oldest()
            return self._snapshots[key]

    def _forget_oldest(self) -> None:
        while len(self._snapshots) > 1 and (
            len(self._snapshots) > SNAPSHOTS_MAX
            or sum(len(snapshot.keys) for snapshot in self._snapshots.values()) > ENTRIES_MAX
        ):
            self._snapshots.popitem(last=False)


async def _build(database: Database, environment: Environment) -> Snapshot:
    found: list[Configuration] = []
    after: str | None = ""
    while after is not None:
        async with database.connection() as connection:
            page, _ = await entries.list_page(
                connection,
                environment.name,
                environment.revision,
                keys=ALL_KEYS,
                after=after,
                limit=_PAGE_SIZE,
            )
        found += page.items
        after = page.next
    return await in_turn("past state", partial(build, environment, found))
