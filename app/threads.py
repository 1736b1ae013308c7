"""Blocking work in threads beside the event loop, and large data that threads free."""

import asyncio
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from app.errors import Unavailable

Result = TypeVar("Result")

_TURN_SECONDS = 5.0
_limiters: "WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadLimiter]" = WeakKeyDictionary()

# The large data of the current request.
_large_data: ContextVar[list[Collection[object]] | None] = ContextVar("large_data", default=None)

# Most queues are empty again after this time.
_RETRY_SECONDS = 5


async def in_thread(name: str, work: Callable[[], Result]) -> Result:
    """Run the work in a daemon thread and return its result.

    The threads of `asyncio.to_thread` are not daemons: a process that stops would wait for a
    migration, or for a thread that hangs. PostgreSQL rolls back a migration that is cut off.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()
    _threads.submit(partial(_run, name, work, loop, outcome))
    try:
        return await outcome
    finally:
        # The future refers to the error, and its traceback to this frame: break the cycle.
        del outcome


def _run(
    name: str,
    work: Callable[[], Result],
    loop: asyncio.AbstractEventLoop,
    outcome: "asyncio.Future[Result]",
) -> None:
    threading.current_thread().name = name
    result, error = _attempt(work)
    # The loop may be closed by now. If the waiter was cancelled, free the result here.
    with suppress(RuntimeError):
        if not outcome.done():
            loop.call_soon_threadsafe(_settle, outcome, result, error)
    # The traceback of the error refers to this frame: break the cycle.
    del outcome, result, error


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - raised again for the waiter
        forget_frames(error)
        return None, error


def _settle(outcome: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)


def forget_frames(error: BaseException) -> None:
    """Clear the local variables in the traceback of an error, and of its causes.

    They may refer to a whole document that was refused. The log still shows the lines.
    """
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        current = errors.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            traceback.clear_frames(current.__traceback__)
            errors += [current.__cause__, current.__context__]


@contextmanager
def freed_in_thread() -> Iterator[None]:
    """After the block, free in a thread all data that was given to `free_later` inside it.

    Freeing ten thousand objects takes 20 to 40 ms.
    """
    large_data: list[Collection[object]] = []
    token = _large_data.set(large_data)
    try:
        yield
    except Exception as error:
        # Otherwise the event loop would free the data together with the traceback.
        forget_frames(error)
        raise
    finally:
        _large_data.reset(token)
        if large_data:
            _threads.submit(partial(free, large_data))


def free_later(*data: Collection[object]) -> None:
    """Retain large lists and dicts until the request ends, so that a thread frees their items."""
    large_data = _large_data.get()
    if large_data is not None:
        large_data += data


def free(large_data: list[Collection[object]]) -> None:
    """Empty the list, and free the items of its lists and dicts one by one.

    Freeing them all at once would block the interpreter, and so the event loop.
    """
    while large_data:
        data = large_data.pop()
        items = list(data.values() if isinstance(data, dict) else data)
        del data
        while items:
            items.pop()


class _Threads:
    """A pool of daemon threads without a limit, in which one thread is always idle.

    The last idle thread starts another one before it works. So no work waits for other work, and
    the event loop never waits for a thread to start. That takes up to 100 ms when others are busy.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._idle == 0:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._idle:
                return
            self._idle += 1
        try:
            threading.Thread(target=self._serve, daemon=True).start()
        except RuntimeError:
            # The system has no more threads. The work waits until a running thread is idle.
            with self._lock:
                self._idle -= 1

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            with self._lock:
                self._idle -= 1
            self._start()
            work()
            # Free it now, not when the next work arrives.
            del work
            with self._lock:
                self._idle += 1


_threads = _Threads()


async def in_turn(name: str, work: Callable[[], Result]) -> Result:
    """Run the work in a thread, one at a time for each loop. Raises Unavailable after 5 s."""
    loop = asyncio.get_running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = ThreadLimiter(_TURN_SECONDS)
    return await limiter.run(name, work)


class ThreadLimiter:
    """Runs heavy work in threads, a few at a time: they share the interpreter with the event loop.

    Work occupies its slot until its thread ends, even if the caller was cancelled.
    """

    def __init__(self, wait_seconds: float, *, slots: int = 1) -> None:
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(slots)

    async def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Run the work in a thread. Raises Unavailable if no slot is free in time."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable(
                "busy",
                "The service is processing other large documents.",
                retry_after_seconds=_RETRY_SECONDS,
            ) from None
        loop = asyncio.get_running_loop()

        def work_and_release() -> Result:
            try:
                return work()
            finally:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._slots.release)

        return await in_thread(name, work_and_release)
