"""Ports that nobody else takes between a look at them and their use."""

import os
import random
import socket
from contextlib import suppress
from itertools import count

# Below those that the kernel gives to whoever asks for any, and others for each process of the
# suite; where to begin is left to chance, since another suite may run beside this one.
_FIRST = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 12)
_STEPS = count(random.randrange(1_000))  # noqa: S311


def free_port() -> int:
    while True:
        port = _FIRST + next(_STEPS) % 1_000
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
