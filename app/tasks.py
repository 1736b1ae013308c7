"""Background tasks: restarted after a failure, reported by health, and stopped within a limit."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from app.log import logger

log = logger(__name__)

PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 60.0
# A task that runs for longer than this after a failure has recovered.
RECOVERY_SECONDS = 60.0
# The last write of a task may wait this long for a database that does not answer.
CANCEL_SECONDS = 3.0
STOP_SECONDS = 12.0


class Tasks:
    """The named background tasks of one process. `failures` counts since the last recovery."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self.failures = Counter[str]()

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run until it returns, and restart it after each failure. Do nothing after `stop`."""
        if not self._stopped:
            self._tasks[name] = asyncio.create_task(self._keep_running(name, run), name=name)

    @property
    def alive(self) -> dict[str, bool]:
        """Return the state of each task: False from a failure until the task has recovered."""
        return {name: name not in self.failures for name in self._tasks}

    async def stop(self) -> list[str]:
        """Cancel every task, and again every 3 s. Return the names of those that run after 12 s."""
        self._stopped = True
        loop = asyncio.get_running_loop()
        limit = loop.time() + STOP_SECONDS
        pending = {task for task in self._tasks.values() if not task.done()}
        while pending and loop.time() < limit:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
        names = sorted(task.get_name() for task in pending)
        if names:
            log.error("tasks_not_stopped", tasks=names)
        return names

    async def _keep_running(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run until it returns. Pause after a failure for 1 s, doubled each time up to 60 s."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        backoff = Backoff(PAUSE_SECONDS, PAUSE_SECONDS_MAX)

        def recover() -> None:
            self.failures.pop(name, None)
            backoff.reset()

        while True:
            recovery = loop.call_later(RECOVERY_SECONDS, recover)
            try:
                await run()
            except (Exception, asyncio.CancelledError) as error:
                if self._stopped or (task and task.cancelling()):
                    if isinstance(error, Exception):
                        log.warning("task_failed_while_stopping", task=name, exc_info=error)
                        return
                    raise
                self.failures[name] += 1
                log.exception("task_failed", task=name, restart_seconds=backoff.seconds)
            else:
                self.failures.pop(name, None)
                return
            finally:
                recovery.cancel()
            await backoff.pause()


@contextmanager
def preserve_cancellation() -> Iterator[None]:
    """Raise CancelledError if an error of the cleanup would replace it.

    If a rollback fails after the cancellation, its error looks like that of a statement. The loop
    around it would then continue.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise


class Backoff:
    """Pauses between attempts: each is twice as long as the one before it, up to a limit."""

    def __init__(self, first_seconds: float, seconds_max: float = math.inf) -> None:
        self._first_seconds = first_seconds
        self._seconds_max = seconds_max
        self.seconds = first_seconds

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self.seconds = self._first_seconds

    def next(self) -> float:
        """Return the seconds of this pause, plus or minus up to 50 %."""
        seconds, self.seconds = self.seconds, min(2 * self.seconds, self._seconds_max)
        return jittered(seconds, 0.5)

    async def pause(self) -> None:
        await asyncio.sleep(self.next())


def jittered(seconds: float, share: float = 0.2) -> float:
    """Return the time, plus or minus up to this share, so that instances do not act together."""
    return seconds * random.uniform(1 - share, 1 + share)  # noqa: S311 - spreads load


async def wait_at_most(seconds: float, event: asyncio.Event) -> bool:
    """Wait for the event, and return whether it came in time.

    `asyncio.wait_for` would lose a cancellation that comes with the event, until Python 3.12.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def repeat(
    every: Callable[[], float], run_once: Callable[[], Awaitable[object]], *, at_end: bool = False
) -> None:
    """Repeat the work and a sleep of the seconds that `every` returns. Never returns.

    With `at_end` the work runs once more when the task is cancelled.
    """
    try:
        while True:
            await run_once()
            await asyncio.sleep(jittered(every()))
    except asyncio.CancelledError:
        if at_end:
            await run_once()
        raise
