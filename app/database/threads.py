"""Blocking work beside the event loop: migrations, the embedded server, large documents."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from weakref import WeakKeyDictionary

from app.errors import Unavailable

Result = TypeVar("Result")

_TURN_SECONDS = 5.0
_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, Lane]" = WeakKeyDictionary()

# A client that is told to come back should not come back into the same queue.
_RETRY_SECONDS = 5


async def in_thread(name: str, work: Callable[[], Result]) -> Result:
    """Run the work in a daemon thread and return its result.

    A daemon, unlike asyncio.to_thread: a process that is told to stop in the middle of a migration
    must be able to. The server then takes the migration back.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()

    def settle(action: Callable[[], None]) -> None:
        # The loop may be closed, or the waiter gone, by the time the thread comes back.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if outcome.done() else action())

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - carried over to the waiter, whatever it is
            failure = error
            settle(lambda: outcome.set_exception(failure))
        else:
            settle(lambda: outcome.set_result(result))

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome


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
