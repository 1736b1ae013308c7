"""Background tasks that somebody watches: a crash is kept, logged and shown in health."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from app.log import logger

log = logger(__name__)


class Tasks:
    """The named background tasks of one process."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self.failures: dict[str, BaseException] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run the work under a name of its own; not at all once `stop` has been called."""
        if self._stopped:
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)

    @property
    def alive(self) -> dict[str, bool]:
        """Each task's name, and whether it is well: still running, or ended as it should."""
        return {name: name not in self.failures for name in self._tasks}

    async def stop(self) -> None:
        """Cancel every task, the last one first, and wait until each is gone."""
        self._stopped = True
        for task in reversed(list(self._tasks.values())):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.failures[task.get_name()] = error
            log.error("task_failed", task=task.get_name(), exc_info=error)


def jittered(seconds: float) -> float:
    """Return the time, a fifth more or less: instances that start together drift apart."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


async def repeat(every: Callable[[], float], run_once: Callable[[], Awaitable[object]]) -> None:
    """Do the work, rest for as long as `every` then says, and again, for ever."""
    while True:
        await run_once()
        await asyncio.sleep(jittered(every()))
