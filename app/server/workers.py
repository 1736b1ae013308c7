"""Several worker processes on one port: started, watched, replaced when one dies, stopped together.

Each worker has its own socket on the port (SO_REUSEPORT), and the kernel distributes connections.
With one shared socket the first worker to wake would accept all waiting connections. The supervisor
binds the socket, and the worker listens once it can answer. When the worker dies, the kernel closes
it. Each worker is a whole service with its own pool, follower and heartbeat. The supervisor serves
nothing, and ends with the last worker.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
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
# A worker that ran for longer than this did not fail at its start.
_LONG_RUN_SECONDS = 30.0
# A stop may take this long on top of the limits for draining and for requests.
_GRACE_SECONDS = 5.0
_KILL_SECONDS = 1.0
# Stands for the exit code of a worker that could not be started.
_NOT_STARTED = -1
_STARTED = b"+"
_BEAT = b"."
_BEAT_SECONDS = 1.0
# The event loop of a worker that is silent for longer than this is blocked.
_SILENCE_SECONDS_MAX = 10.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """The identity of a worker process. The default is the only process of a service.

    A worker that `listens_at_start` answers liveness while the start runs. `sockets` are bound.
    `lifeline` is one end of a pair of sockets: the other end is closed when the supervisor is gone.
    `folder` holds the sockets over which workers exchange metrics.
    """

    number: int = 1
    listens_at_start: bool = True
    sockets: tuple[int, ...] = ()
    lifeline: int | None = None
    folder: Path | None = None

    def arguments(self) -> list[str]:
        """Return the arguments of the command `serve-worker`."""
        sockets = (f"--socket={descriptor}" for descriptor in self.sockets)
        return [
            f"--number={self.number}",
            *(["--first"] if self.listens_at_start else []),
            *sockets,
            f"--lifeline={self.lifeline}",
            f"--folder={self.folder}",
        ]


ONLY = Worker()


def stop_seconds_max(settings: HttpSettings) -> float:
    """Return the seconds after which a process that stops aborts itself."""
    return settings.drain_seconds + 2 * settings.shutdown_timeout_seconds + _GRACE_SECONDS


def report_started(worker: Worker) -> None:
    """Report to the supervisor that this worker has started."""
    if worker.lifeline is not None:
        os.write(worker.lifeline, _STARTED)


async def beat_lifeline(worker: Worker) -> None:
    """Report to the supervisor every second that the event loop runs.

    A suspended supervisor reads nothing. A write to the full socket must not block.
    """
    if worker.lifeline is not None:
        os.set_blocking(worker.lifeline, False)
    while worker.lifeline is not None:
        with suppress(OSError):  # full, or the supervisor is gone: see watch_lifeline
            os.write(worker.lifeline, _BEAT)
        await asyncio.sleep(_BEAT_SECONDS)


def watch_lifeline(worker: Worker, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` when the supervisor is gone: nothing else would stop this worker."""
    if worker.lifeline is None:
        return
    loop, lifeline = asyncio.get_running_loop(), worker.lifeline

    def on_readable() -> None:
        # The supervisor sends nothing, so the socket is readable only at its end.
        loop.remove_reader(lifeline)
        log.warning("supervisor_gone")
        if worker.folder is not None:
            # The supervisor can no longer remove it. Several workers may try.
            shutil.rmtree(worker.folder, ignore_errors=True)
        on_gone()

    loop.add_reader(lifeline, on_readable)


class Supervisor:
    """Runs the workers of a service until a signal, and replaces those that die."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._exit_code = 0

    async def run(self, on_started: Callable[[], None]) -> int:
        """Return the exit code: 1 if the first start failed for good. Raises ListenError."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signal_number, self._stop, signal_number)
        with (
            claimed(self._settings.http),
            tempfile.TemporaryDirectory(prefix="flagstone-") as folder,
        ):
            async with asyncio.TaskGroup() as group:
                first, *others = (
                    Worker(number=number, folder=Path(folder))
                    for number in range(1, self._settings.http.workers + 1)
                )
                group.create_task(self._keep_running(first))
                starting = group.create_task(self._start_others(group, others, on_started))
                await self._stopping.wait()
                starting.cancel()
        log.info("stopped")
        return self._exit_code

    async def _start_others(
        self, group: asyncio.TaskGroup, others: Sequence[Worker], on_started: Callable[[], None]
    ) -> None:
        """Announce the start of the first worker, then start the others.

        The first one listens before it can serve. If another one were ready earlier, the service
        would report ready, while requests that reach the first one are refused.
        """
        await self._started.wait()
        on_started()
        for worker in others:
            group.create_task(self._keep_running(worker))

    async def _keep_running(self, worker: Worker) -> None:
        """Run this worker, in a new process after each death, until the supervisor stops."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            try:
                listens_at_start = worker.number == 1 and not self._started.is_set()
                code = await self._run_process(replace(worker, listens_at_start=listens_at_start))
            except (OSError, ListenError) as error:
                # No memory or no file descriptor left: retry, while the other workers serve.
                log.exception("worker_not_made", worker=worker.number, reason=str(error))
                code = _NOT_STARTED
            if self._stopping.is_set():
                return
            if not self._started.is_set() and code == 1:
                # The worker has logged the reason, such as a wrong password.
                self._exit_code = code
                self._stop(signal.SIGTERM)
                return
            log.error("worker_died", worker=worker.number, code=code)
            if loop.time() - began > _LONG_RUN_SECONDS:
                backoff.reset()
            await wait_at_most(backoff.next(), self._stopping)

    async def _run_process(self, worker: Worker) -> int:
        """Run one process and return its exit code, negative for a signal. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            # The supervisor closes its copies at once, so that the sockets end with the worker.
            with theirs, bound(self._settings.http) as sockets:
                descriptors = tuple(listener.fileno() for listener in sockets)
                started = replace(worker, sockets=descriptors, lifeline=theirs.fileno())
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "app", "serve-worker", *started.arguments()),
                    env=os.environ | {"INSTANCE_ID": f"{self._settings.instance}.{worker.number}"},
                    pass_fds=(*descriptors, theirs.fileno()),
                    # Ctrl-C goes to the whole process group. The supervisor passes it on, once.
                    start_new_session=True,
                )
            self._children[worker.number] = child
            monitor = asyncio.create_task(self._monitor(ours, child))
            try:
                if self._stopping.is_set():
                    self._end(child, signal.SIGTERM)
                return await child.wait()
            finally:
                monitor.cancel()
                del self._children[worker.number]

    async def _monitor(self, ours: socket.socket, child: asyncio.subprocess.Process) -> None:
        """Record when the worker reports its start, and kill it when it falls silent."""
        loop = asyncio.get_running_loop()
        limit: float | None = None
        while True:
            reports = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(limit) as silence:
                    reports = await loop.sock_recv(ours, 64)
            if limit is not None and silence.expired():
                log.error("worker_silent", pid=child.pid)
                _kill(child)
            if not reports:
                return
            limit = _SILENCE_SECONDS_MAX
            if _STARTED in reports:
                self._started.set()

    def _stop(self, number: signal.Signals) -> None:
        """Pass the signal on to every worker, and kill those that do not end in time."""
        self._stopping.set()
        for child in self._children.values():
            self._end(child, number)

    def _end(self, child: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            child.send_signal(number)
        # A worker aborts itself at its limit. Kill it if it cannot.
        limit = stop_seconds_max(self._settings.http) + _KILL_SECONDS
        asyncio.get_running_loop().call_later(limit, _kill, child)


def _kill(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        log.error("worker_killed")
        child.kill()
