"""The environments in memory: which are in use, which are idle, and the loads in progress.

A small installation has all environments in memory. Above `WARM_ENTRIES`, an environment is loaded
when it is first asked for, and dropped when no request has asked for it for a time.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.configuration.snapshots.snapshot import Snapshot
from app.errors import AppError, Unavailable
from app.log import logger

log = logger(__name__)

# Entries of idle environments that stay in memory: 60 to 150 MiB.
WARM_ENTRIES = 20_000
# A caller waits this long. The load continues for later callers.
LOAD_SECONDS = 10.0
# Loads share the interpreter with the event loop, and the connections of the pool.
_LOADS_AT_ONCE = 2


class Uses:
    """When each environment was last asked for.

    With `idle_seconds` 0, each refresh loads all environments, and none is dropped.
    """

    def __init__(self, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        # The environments that were asked for since the last `settle`.
        self.asked: set[str] = set()
        self._used_at: dict[str, float] = {}

    @property
    def are_all_loaded(self) -> bool:
        return not self.idle_seconds

    @property
    def warm_entries(self) -> float:
        """The number of entries up to which no environment is dropped."""
        return math.inf if self.are_all_loaded else WARM_ENTRIES

    def settle(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Take the time of the uses since the last call, and forget what is not in memory."""
        now = time.monotonic()
        self._used_at = {
            name: now if name in self.asked else self._used_at.get(name, now) for name in snapshots
        }
        self.asked.clear()

    def by_recent_use(self, names: Iterable[str]) -> list[str]:
        """Return the names, those that were used last first."""
        return sorted(names, key=lambda name: -self._used_at.get(name, 0.0))

    def idle(self, snapshots: Mapping[str, Snapshot]) -> list[str]:
        """Return the environments to drop, until the others have at most `warm_entries`."""
        entries = entries_in(snapshots)
        if entries <= self.warm_entries:
            return []
        until = time.monotonic() - self.idle_seconds
        names = []
        for name, used_at in sorted(self._used_at.items(), key=lambda item: item[1]):
            if used_at > until or entries <= self.warm_entries:
                break
            names.append(name)
            entries -= len(snapshots[name].entries)
        return names


def entries_in(snapshots: Mapping[str, Snapshot]) -> int:
    return sum(len(snapshot.entries) for snapshot in snapshots.values())


class Loads:
    """Runs one load of an environment for all callers that wait for it."""

    def __init__(self, load: Callable[[str], Awaitable[str]]) -> None:
        self._load = load
        self._running: dict[str, asyncio.Task[AppError | None]] = {}
        self._turns = asyncio.Semaphore(_LOADS_AT_ONCE)
        # Environments whose last load failed without a known reason.
        self.broken: set[str] = set()
        # For metrics: ended loads by their result, which `load` returns, or "failed".
        self.results: Counter[str] = Counter()

    def __contains__(self, environment: str) -> bool:
        return environment in self._running

    async def wait(self, environment: str) -> None:
        """Load the environment. Raises NotFound, and Unavailable also after `LOAD_SECONDS`."""
        task = self._running.get(environment)
        if task is None:
            task = asyncio.create_task(self._run(environment), name=f"load:{environment}")
            self._running[environment] = task
        # Not wait_for, which would cancel the load for the other callers.
        done, _ = await asyncio.wait([task], timeout=LOAD_SECONDS)
        if not done:
            raise Unavailable("snapshot_loading", "The environment is being loaded. Try again.")
        error = task.result()
        if error is not None:
            raise error.with_traceback(None)

    def close(self) -> None:
        for task in self._running.values():
            task.cancel()

    async def _run(self, environment: str) -> AppError | None:
        result, failure = "failed", None
        try:
            async with self._turns:
                result = await self._load(environment)
            self.broken.discard(environment)
        except AppError as error:
            failure = error.with_traceback(None)
        except Exception:
            log.exception("snapshot_not_loaded", environment=environment)
            self.broken.add(environment)
            failure = Unavailable("snapshot_failed", "The environment cannot be loaded.")
        finally:
            del self._running[environment]
            self.results[result] += 1
        return failure
