"""The access log as lines of JSON on standard output, for log collectors.

The other logs go to standard error, so both can be collected separately. A thread writes the lines:
a reader that is slow or stopped blocks no request. It loses lines, which are counted.
"""

import os
import queue
import sys
import threading

from app.threads import in_thread

QUEUE_MAX = 10_000
_END_SECONDS = 1.0


class StdoutLog:
    """Writes lines to a file descriptor. A line shorter than PIPE_BUF is never split."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE_MAX)
        self._thread = threading.Thread(target=self._write, name="access-lines", daemon=True)
        self._thread.start()
        self.dropped = 0

    @classmethod
    def of_stdout(cls) -> "StdoutLog | None":
        """Return a log on standard output, or None when the process has none.

        Its file descriptor then belongs to something else, such as a connection.
        """
        return cls(sys.stdout.fileno()) if sys.stdout is not None else None

    def put(self, line: bytes) -> None:
        """Queue the line. Drop it when the queue is full."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    async def close(self) -> None:
        """Write the queued lines within 2 s."""
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
