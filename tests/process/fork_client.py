"""Ask the server of `forks.py` for a process. A shell session runs this file as `python -m app`.

It imports little: it starts in 20 ms, where an interpreter that imports app/ needs half a second.
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# A process ID or an exit code.
NUMBER = struct.Struct("=i")


def ask(
    control: socket.socket, argv: Sequence[str], environ: Mapping[str, str], cwd: str, *streams: int
) -> socket.socket:
    """Return the socket that sends the ID of the process, and at its end its exit code."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(control, [b"+"], [theirs.fileno(), *streams])
    ours.sendall(json.dumps([argv, dict(environ), cwd]).encode() + b"\n")
    return ours


def main() -> int:
    """Run a command with the streams of this process, and pass signals on to it."""
    _, descriptor, _, *argv = sys.argv
    control = socket.socket(fileno=int(descriptor))
    keeper = ask(control, argv, os.environ, str(Path.cwd()), 0, 1, 2)
    (pid,) = NUMBER.unpack(keeper.recv(NUMBER.size))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    (code,) = NUMBER.unpack(keeper.recv(NUMBER.size))
    # As a shell reports a process that a signal ended.
    return int(code) if code >= 0 else 128 - int(code)


if __name__ == "__main__":
    sys.exit(main())
