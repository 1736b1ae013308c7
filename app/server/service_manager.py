"""Reports to the service manager, such as systemd, that started this process (`sd_notify`).

The manager names its socket in NOTIFY_SOCKET. It restarts a service of the type `notify` that sends
no beat within its limits. So each beat comes from a turn of an event loop that serves requests.
"""

import socket
from contextlib import suppress

from app.http.lifecycle import Lifecycle
from app.tasks import wait_at_most

_BEAT_SECONDS = 1.0
# A start may last longer than the manager's limit, while its event loop runs: an index is built, or
# the database is away. Each beat allows another 30 s.
_START_BEAT = b"EXTEND_TIMEOUT_USEC=30000000"


class ServiceManager:
    """The manager behind a socket. Without an address, its methods do nothing."""

    def __init__(self, address: str | None) -> None:
        # A leading @ stands for the zero byte of an abstract address.
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self._is_ready = False

    def report_ready(self) -> None:
        self._is_ready = True
        self._send(b"READY=1")

    def report_stopping(self) -> None:
        self._send(b"STOPPING=1")

    def beat(self) -> None:
        """Report that an event loop runs: to extend the start, then for the watchdog."""
        self._send(b"WATCHDOG=1" if self._is_ready else _START_BEAT)

    async def follow(self, lifecycle: Lifecycle) -> None:
        """Report the states of this process, and beat every second from its event loop."""
        if not self._address:
            return
        while not await wait_at_most(_BEAT_SECONDS, lifecycle.serving):
            self.beat()
        self.report_ready()
        while not await wait_at_most(_BEAT_SECONDS, lifecycle.draining):
            self.beat()
        self.report_stopping()

    def _send(self, message: bytes) -> None:
        if not self._address:
            return
        # A manager that is gone or slow must not stop the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message, self._address)
