"""Background tasks: restarted after a failure, shown in health, and stopped within a limit."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from app.log import logger

log = logger(__name__)

PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 60.0
# A task that has run for so long since its last failure has recovered.
RECOVERY_SECONDS = 60.0
# A last write to a database that does not answer may take 3 s.
_CANCEL_SECONDS = 3.0
_STOP_SECONDS = 12.0


class Tasks:
    """The named background tasks of one process; `failures` counts since the last recovery."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self.failures = Counter[str]()

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run under this name until it returns, again after each failure; not after `stop`."""
        if not self._stopped:
            self._tasks[name] = asyncio.create_task(self._keep_running(name, run), name=name)

    @property
    def alive(self) -> dict[str, bool]:
        """Whether each task is well: no failure since its last recovery."""
        return {name: name not in self.failures for name in self._tasks}

    async def stop(self) -> list[str]:
        """Cancel every task, again while it does not end, and return those that outlast 12 s."""
        self._stopped = True
        loop = asyncio.get_running_loop()
        limit = loop.time() + _STOP_SECONDS
        pending = {task for task in self._tasks.values() if not task.done()}
        while pending and loop.time() < limit:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
        names = sorted(task.get_name() for task in pending)
        if names:
            log.error("tasks_not_stopped", tasks=names)
        return names

    async def _keep_running(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run until it returns. After a failure pause for 1 s, doubled each time up to 60 s."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            recovery = loop.call_later(RECOVERY_SECONDS, self.failures.pop, name, None)
            try:
                await run()
            except (Exception, asyncio.CancelledError) as error:
                if self._stopped or (task and task.cancelling()):
                    if isinstance(error, Exception):
                        log.warning("task_failed_while_stopping", task=name, exc_info=error)
                        return
                    raise
                self.failures[name] += 1
                pause = min(PAUSE_SECONDS * 2 ** min(self.failures[name] - 1, 6), PAUSE_SECONDS_MAX)
                log.exception("task_failed", task=name, restart_seconds=pause)
            else:
                self.failures.pop(name, None)
                return
            finally:
                recovery.cancel()
            await asyncio.sleep(jittered(pause))


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raise CancelledError where an error of the cleanup would replace it.

    A rollback that fails after the cancellation, for example, would look like a failed statement,
    and the loop around it would go on.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise


def jittered(seconds: float) -> float:
    """Return the time, a fifth more or less: instances that start together drift apart."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


async def repeat(every: Callable[[], float], run_once: Callable[[], Awaitable[object]]) -> None:
    """Do the work, sleep for the seconds that `every` returns, and repeat without end."""
    while True:
        await run_once()
        await asyncio.sleep(jittered(every()))
