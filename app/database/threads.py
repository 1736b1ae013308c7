"""Blocking work (migrations, the embedded server) beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


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
