"""Blocking work beside the event loop: migrations, the embedded server, large documents."""

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
_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, Lane]" = WeakKeyDictionary()

# The large data of a request.
_held: ContextVar[list[Collection[object]] | None] = ContextVar("held", default=None)

# Long enough for the queue to be gone when the client retries.
_RETRY_SECONDS = 5


async def in_thread(name: str, work: Callable[[], Result]) -> Result:
    """Run the work in a daemon thread and return its result.

    The thread is a daemon, unlike those of asyncio.to_thread: a process that stops does not wait
    for a migration or for a thread that hangs. The server rolls such a migration back.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()
    _threads.submit(partial(_run, name, work, loop, outcome))
    try:
        return await outcome
    finally:
        # The future has the error, whose traceback has this frame: a cycle would keep all of it.
        del outcome


def _run(
    name: str,
    work: Callable[[], Result],
    loop: asyncio.AbstractEventLoop,
    outcome: "asyncio.Future[Result]",
) -> None:
    threading.current_thread().name = name
    result, error = _attempt(work)
    # The loop may be closed by the time the thread comes back. If the waiter has gone, the result
    # is freed here.
    with suppress(RuntimeError):
        if not outcome.done():
            loop.call_soon_threadsafe(_settle, outcome, result, error)
    # The frames of the error lead back to this one: the same cycle.
    del outcome, result, error


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - carried over to the waiter, whatever it is
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
    """Free what the frames of an error hold: the whole document, say, that was refused.

    The frames stay, without their variables, so that a log still shows where the error was raised.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            waiting += [each.__cause__, each.__context__]


@contextmanager
def freed_in_thread() -> Iterator[None]:
    """Free in a thread, after the block, all data that was given to `free_later` in it.

    To free ten thousand objects takes 20 to 40 ms.
    """
    held: list[Collection[object]] = []
    token = _held.set(held)
    try:
        yield
    except Exception as error:
        # Its frames would be the last to hold the data, on the event loop.
        forget_frames(error)
        raise
    finally:
        _held.reset(token)
        if held:
            _threads.submit(partial(free, held))


def free_later(*data: Collection[object]) -> None:
    """Hold large lists and dicts until the request ends, so that a thread frees their items."""
    held = _held.get()
    if held is not None:
        held += data


def free(held: list[Collection[object]]) -> None:
    """Empty the list, and free the items of its lists and dicts one by one.

    To free all in one go would hold the interpreter, and so the event loop, for as long.
    """
    while held:
        data = held.pop()
        items = list(data.values() if isinstance(data, dict) else data)
        del data
        while items:
            items.pop()


class _Threads:
    """Daemon threads that do one piece of work after another.

    One thread is always idle, or is about to be: the last idle one that takes a piece starts
    another before it works. So a piece never waits for those before it. The event loop never waits
    for a thread to start, which takes up to 100 ms while other threads are busy.
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
            # The system has no more threads. What is queued waits for one that is working.
            with self._lock:
                self._idle -= 1

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            with self._lock:
                self._idle -= 1
            self._start()
            work()
            # Free it now, and not when the next piece comes.
            del work
            with self._lock:
                self._idle += 1


_threads = _Threads()


async def in_turn(name: str, work: Callable[[], Result]) -> Result:
    """Do as `in_thread` does, for one piece of work of the event loop at a time.

    Raises Unavailable when others take too long.
    """
    loop = asyncio.get_running_loop()
    lane = _turns.get(loop)
    if lane is None:
        lane = _turns[loop] = Lane(_TURN_SECONDS)
    return await lane.run(name, work)


class Lane:
    """Heavy work, few pieces at a time: all threads share the interpreter with the event loop.

    A piece keeps its place until its thread has ended, also when its caller was cancelled.
    """

    def __init__(self, wait_seconds: float, *, places: int = 1) -> None:
        self._wait_seconds = wait_seconds
        self._place = asyncio.Semaphore(places)

    async def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Do as `in_thread` does. Raises Unavailable when others keep the place for too long."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._place.acquire()
        except TimeoutError:
            raise Unavailable(
                "busy",
                "Other large documents are being worked on.",
                retry_after_seconds=_RETRY_SECONDS,
            ) from None
        loop = asyncio.get_running_loop()

        def whole() -> Result:
            try:
                return work()
            finally:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._place.release)

        return await in_thread(name, whole)
