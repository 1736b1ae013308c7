"""The port of a service: its addresses bound, and kept for one service alone."""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from app.settings import HttpSettings

BACKLOG = 1024


@contextmanager
def claimed(http: HttpSettings) -> Iterator[None]:
    """Keep every other service off the port for as long as the block lasts. Raises OSError.

    Workers share it by design, which must not let two services share it by accident: nobody may
    listen there now, and whoever else would be a supervisor finds the name taken.
    """
    with bound(http, shared=False):
        pass
    with socket.socket(socket.AF_UNIX) as claim:
        if sys.platform == "linux":
            # An abstract name, which the kernel frees however the process ends.
            claim.bind(f"\0flagstone/{http.host}/{http.port}")
        yield


@contextmanager
def bound(http: HttpSettings, *, shared: bool) -> Iterator[Sequence[socket.socket]]:
    """Bind every address of the host, listening on none. Raises OSError."""
    with ExitStack() as stack:
        found = socket.getaddrinfo(
            http.host, http.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets = []
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            made = stack.enter_context(socket.socket(family))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
            sockets.append(made)
        yield sockets
