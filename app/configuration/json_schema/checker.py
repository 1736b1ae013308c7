"""A checker process: reads schemas and values, answers with verdicts. Only `process.py` starts it.

The kernel enforces its limits: a check that takes too long or too much memory ends the process,
wherever it is. The parent's end of the socket is the only other thing that it depends on, so it
ends with its parent.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from app.configuration.json_schema.validation import check

# For the whole process, of which about 35 MiB are programs and libraries.
ADDRESS_SPACE_MAX = 192 * 1024 * 1024
# The exit code after a check that raised: out of memory, or a fault of the library.
CHECK_FAILED = 3
_LENGTH_BYTES = 4


def main() -> None:
    """Answer on standard input, which is a socket, until its other end is closed."""
    cpu_seconds = float(sys.argv[1])
    # A worker may have inherited its listening sockets. They must close when the worker ends.
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # not every system has it
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX))
    try:
        # SIGPROF is not handled, so it ends the process within any call.
        serve(0, lambda: signal.setitimer(signal.ITIMER_PROF, cpu_seconds))
    except ConnectionError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a panic of the library is no Exception
        os._exit(CHECK_FAILED)


def serve(descriptor: int, begin: Callable[[], object]) -> None:
    """Answer each frame; an empty one begins a new request, and with it a new budget."""
    while (frame := _read_frame(descriptor)) is not None:
        if not frame:
            begin()
            continue
        schema, value = msgspec.json.decode(frame)
        _write(descriptor, frame_of(msgspec.json.encode(check(schema, value))))


def frame_of(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH_BYTES) + content


def _read_frame(descriptor: int) -> bytes | None:
    """Return the next frame, None at the end."""
    length = _read(descriptor, _LENGTH_BYTES)
    return None if length is None else _read(descriptor, int.from_bytes(length))


def _read(descriptor: int, count: int) -> bytes | None:
    content = b""
    while len(content) < count:
        chunk = os.read(descriptor, count - len(content))
        if not chunk:
            return None
        content += chunk
    return content


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


if __name__ == "__main__":
    main()
