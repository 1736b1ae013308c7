"""The main module of a checker process. It reads schemas and values, and writes results.

The kernel enforces its limits: a check that takes too much time or memory ends the process. It also
ends when its parent closes the socket. Only `process.py` starts it.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from app.configuration.json_schema.validation import check

# The limit of the whole process, which uses about 35 MiB of it for code.
ADDRESS_SPACE_MAX = 192 * 1024 * 1024
# The exit code after a check that raised: out of memory, or a fault of the library.
CHECK_FAILED = 3
_LENGTH_BYTES = 4


def main() -> None:
    """Serve on standard input, which is a socket, until its other end is closed."""
    cpu_seconds = float(sys.argv[1])
    # A worker may have inherited its listening sockets. They must close when the worker ends.
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # not supported by every system
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX))
    try:
        # SIGPROF has no handler, so it ends the process within any call.
        serve(0, lambda: signal.setitimer(signal.ITIMER_PROF, cpu_seconds))
    except ConnectionError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a panic of the library is not an Exception
        os._exit(CHECK_FAILED)


def serve(descriptor: int, begin: Callable[[], object]) -> None:
    """Answer each frame. An empty frame begins a new request with a new budget."""
    with (
        open(descriptor, "rb", closefd=False) as reader,
        open(descriptor, "wb", closefd=False) as writer,
    ):
        while len(length := reader.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
            frame = reader.read(int.from_bytes(length))
            if not frame:
                begin()
                continue
            schema, value = msgspec.json.decode(frame)
            writer.write(frame_of(msgspec.json.encode(check(schema, value))))
            writer.flush()


def frame_of(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH_BYTES) + content


if __name__ == "__main__":
    main()
