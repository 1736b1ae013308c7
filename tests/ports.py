"""Choose free ports that no other process takes before their use."""

import os
import random
import socket
from contextlib import suppress
from itertools import count

# Below the kernel's ephemeral ports, and another range for each test process. The start is random,
# since another suite may run at the same time.
_FIRST = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 12)
_STEPS = count(random.randrange(1_000))  # noqa: S311


def free_port() -> int:
    while True:
        port = _FIRST + next(_STEPS) % 1_000
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
