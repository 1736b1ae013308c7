"""The time of the last evaluation of each flag, for lists of thousands of flags."""

import time
from collections.abc import Mapping
from datetime import datetime

from app.database import Database, sql
from app.errors import Unavailable

# Instances flush their counts once a minute, so a shorter time would show nothing newer.
_FRESH_SECONDS = 30.0

LastEvaluations = Mapping[str, datetime]


class LastEvaluationsCache:
    """The last evaluations by environment, read again when they are older than 30 s."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[str, tuple[float, LastEvaluations]] = {}

    async def get(self, environment: str) -> LastEvaluations | None:
        """Return the time of the last evaluation by key. A flag that has none is absent.

        While the database is away, returns the times of the last read, or None.
        """
        read_at, known = self._read.get(environment, (0.0, None))
        if known is not None and time.monotonic() - read_at < _FRESH_SECONDS:
            return known
        try:
            async with self._database.connection() as connection:
                rows = sql.list_last_evaluations(connection, environment=environment)
                latest = {row["key"]: row["last_evaluated_at"] async for row in rows}
        except Unavailable:
            return known
        self._read[environment] = time.monotonic(), latest
        return latest

    def forget(self, names: frozenset[str]) -> None:
        """Drop the times of all environments except these."""
        for name in self._read.keys() - names:
            del self._read[name]
