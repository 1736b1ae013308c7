"""Where a process stands between start and stop."""

import asyncio


class Lifecycle:
    """`serving`: there is something to answer from; `started`: all is open; `draining`: from the
    signal on; `failure`: what ends the process.
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
        """End the process, since nothing that it can do will mend this."""
        self.failure = error
        self.stopping.set()
