"""Several processes on one port: started, watched, replaced when one dies, and stopped together.

Each worker has a socket of its own on the port (SO_REUSEPORT), and the kernel spreads connections
over those that listen: over one socket for all, whoever wakes first would take all that wait. The
supervisor binds, the worker listens once it can answer, and the kernel closes when the worker dies.
Each worker is a whole service with its own pool, follower and heartbeat; the supervisor itself
serves nothing, and ends with the last of them.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from app.log import logger
from app.server.listening_socket import ListenError, bound, claimed
from app.settings import HttpSettings, Settings
from app.tasks import Backoff, wait_at_most

log = logger(__name__)

_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 10.0
# A worker that lived for longer than this did not fail at its start.
_LONG_SECONDS = 30.0
# What a stop may take on top of the limits for draining and for requests.
_GRACE_SECONDS = 5.0
_KILL_SECONDS = 1.0
_NOT_MADE = -1
_STARTED = b"+"
_BEAT = b"."
_BEAT_SECONDS = 1.0
# A worker whose event loop has not turned for so long answers nobody.
_SILENCE_SECONDS_MAX = 10.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Which worker a process is; the default is the only one.

    `is_first` is the one that answers before there is anything to answer with; `sockets` are bound
    already; `lifeline` is one of a pair of sockets, whose other is closed when the supervisor is
    gone; `folder` is where the workers find each other.
    """

    number: int = 1
    is_first: bool = True
    sockets: tuple[int, ...] = ()
    lifeline: int | None = None
    folder: Path | None = None

    def arguments(self) -> list[str]:
        """Return what makes a `serve-worker` command of it."""
        sockets = (f"--socket={descriptor}" for descriptor in self.sockets)
        return [
            f"--number={self.number}",
            *(["--first"] if self.is_first else []),
            *sockets,
            f"--lifeline={self.lifeline}",
            f"--folder={self.folder}",
        ]


ONLY = Worker()


def stop_seconds_max(settings: HttpSettings) -> float:
    """Return the seconds after which a process that stops ends itself."""
    return settings.drain_seconds + 2 * settings.shutdown_timeout_seconds + _GRACE_SECONDS


def report_started(worker: Worker) -> None:
    """Tell the supervisor that this worker has started."""
    if worker.lifeline is not None:
        os.write(worker.lifeline, _STARTED)


async def beat_lifeline(worker: Worker) -> None:
    """Tell the supervisor every second that the event loop turns.

    A supervisor that is stopped reads nothing. Once the socket is full, a write must not block.
    """
    if worker.lifeline is not None:
        os.set_blocking(worker.lifeline, False)
    while worker.lifeline is not None:
        with suppress(OSError):  # full, or the supervisor is gone, which watch_lifeline sees too
            os.write(worker.lifeline, _BEAT)
        await asyncio.sleep(_BEAT_SECONDS)


def watch_lifeline(worker: Worker, on_gone: Callable[[], None]) -> None:
    """Call back when the supervisor is gone: without one, nobody would ever stop this worker."""
    if worker.lifeline is None:
        return
    loop, lifeline = asyncio.get_running_loop(), worker.lifeline

    def look() -> None:
        # Nothing is ever sent this way: what can be read is the end.
        loop.remove_reader(lifeline)
        log.warning("supervisor_gone")
        if worker.folder is not None:
            # It can no longer do that itself; several may try.
            shutil.rmtree(worker.folder, ignore_errors=True)
        on_gone()

    loop.add_reader(lifeline, look)


class Supervisor:
    """Keeps the workers of one port running until a signal."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._exit_code = 0

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> int:
        """Return the exit code: not 0 when no worker could start. Raises ListenError."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signal_number, self._stop, signal_number)
        with (
            claimed(self._settings.http),
            tempfile.TemporaryDirectory(prefix="flagstone-") as folder,
        ):
            async with asyncio.TaskGroup() as group:
                announcing = group.create_task(self._announce(on_started))
                for number in range(1, self._settings.http.workers + 1):
                    group.create_task(self._keep(Worker(number=number, folder=Path(folder))))
                await self._stopping.wait()
                announcing.cancel()
        log.info("stopped")
        return self._exit_code

    async def _announce(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self._started.wait()
        await on_started()

    async def _keep(self, worker: Worker) -> None:
        """Have this worker run, in one process after the other, until all is to stop."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            try:
                is_first = worker.number == 1 and not self._started.is_set()
                code = await self._one_life(replace(worker, is_first=is_first))
            except (OSError, ListenError) as error:
                # No memory, no file left to open: retried, and until then the other workers serve.
                log.exception("worker_not_made", worker=worker.number, reason=str(error))
                code = _NOT_MADE
            if self._stopping.is_set():
                return
            if not self._started.is_set() and code == 1:
                # Foreseen, and said by the worker: settings, a wrong password, an edited migration.
                self._exit_code = code
                self._stop(signal.SIGTERM)
                return
            log.error("worker_died", worker=worker.number, code=code)
            if loop.time() - began > _LONG_SECONDS:
                backoff.reset()
            await wait_at_most(backoff.next(), self._stopping)

    async def _one_life(self, worker: Worker) -> int:
        """Run one process and return its exit code, negative for a signal. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            # Our own copies are closed at once: the port's share of a worker ends with the worker.
            with theirs, bound(self._settings.http) as sockets:
                descriptors = tuple(each.fileno() for each in sockets)
                own = replace(worker, sockets=descriptors, lifeline=theirs.fileno())
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "app", "serve-worker", *own.arguments()),
                    env=os.environ | {"INSTANCE_ID": f"{self._settings.instance}.{worker.number}"},
                    pass_fds=(*descriptors, theirs.fileno()),
                    # Ctrl-C goes to a whole group; they are to have it from here, once.
                    start_new_session=True,
                )
            self._children[worker.number] = child
            hearing = asyncio.create_task(self._hear(ours, child))
            try:
                if self._stopping.is_set():
                    self._end(child, signal.SIGTERM)
                return await child.wait()
            finally:
                hearing.cancel()
                del self._children[worker.number]

    async def _hear(self, ours: socket.socket, child: asyncio.subprocess.Process) -> None:
        """Note that a worker has started, and kill one that has fallen silent."""
        loop = asyncio.get_running_loop()
        limit: float | None = None
        while True:
            heard = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(limit) as silence:
                    heard = await loop.sock_recv(ours, 64)
            if limit is not None and silence.expired():
                log.error("worker_silent", pid=child.pid)
                _kill(child)
            if not heard:
                return
            limit = _SILENCE_SECONDS_MAX
            if _STARTED in heard:
                self._started.set()

    def _stop(self, number: signal.Signals) -> None:
        """Pass the signal on; a worker that is not gone in time is killed."""
        self._stopping.set()
        for child in self._children.values():
            self._end(child, number)

    def _end(self, child: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            child.send_signal(number)
        # A worker ends itself at its limit, and is killed if it cannot.
        limit = stop_seconds_max(self._settings.http) + _KILL_SECONDS
        asyncio.get_running_loop().call_later(limit, _kill, child)


def _kill(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        log.error("worker_killed")
        child.kill()
