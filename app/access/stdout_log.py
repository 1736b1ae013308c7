"""Lines of JSON on standard output, for whoever collects the access log.

Not on standard error, where the other lines are: so it can be sent elsewhere, and kept for longer,
without being told apart first. They are written by a thread: a reader that is slow, or has stopped,
holds nobody up, and costs lines that are counted.
"""

import os
import queue
import sys
import threading

from app.threads import in_thread

QUEUE_MAX = 10_000
_END_SECONDS = 1.0


class StdoutLog:
    """Writes to a file descriptor, one line in one piece as long as it is below PIPE_BUF."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE_MAX)
        self._thread = threading.Thread(target=self._write, name="access-lines", daemon=True)
        self._thread.start()
        self.dropped = 0

    @classmethod
    def of_stdout(cls) -> "StdoutLog | None":
        """Return the lines of standard output; None for a process that was started without one.

        Its number then belongs to whatever was opened first, such as a connection.
        """
        return cls(sys.stdout.fileno()) if sys.stdout is not None else None

    def put(self, line: bytes) -> None:
        """Write the line some time soon; drop it when too many wait already."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    async def close(self) -> None:
        """Write what waits, within a second."""
        await in_thread("access-lines-end", self._end)

    def _end(self) -> None:
        try:
            self._queue.put(None, timeout=_END_SECONDS)
        except queue.Full:
            return
        self._thread.join(_END_SECONDS)

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.dropped += 1
