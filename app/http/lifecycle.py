"""The states of a process between start and stop."""

import asyncio


class Lifecycle:
    """Events of a process.

    `serving`: it can answer from a snapshot. `started`: every component is open. `draining`: it got
    the signal to stop. `stopping`: it must end; `failure` is the reason, if it is an error.
    """

    def __init__(self) -> None:
        self.serving = asyncio.Event()
        self.started = asyncio.Event()
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None

    def start(self) -> None:
        self.serving.set()
        self.started.set()

    def fail(self, error: BaseException) -> None:
        """End the process because of an error that it cannot repair."""
        self.failure = error
        self.stopping.set()
