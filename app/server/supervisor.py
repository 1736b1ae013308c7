"""Several worker processes on one port: started, watched, replaced when one dies, stopped together.

Each worker has its own socket on the port (SO_REUSEPORT), and the kernel distributes connections.
With one shared socket the first worker to wake would accept all waiting connections. The supervisor
binds the socket, and the worker listens once it can answer. When the worker dies, the kernel closes
it. Each worker is a whole service with its own pool, follower and heartbeat. The supervisor serves
nothing, and ends with the last worker.

A worker is a fork of the supervisor, which has imported everything: so a worker starts without
imports, and all processes share that memory. A fork copies only the calling thread, and an event
loop cannot be copied, so the supervisor has neither threads nor a loop.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from app.log import logger
from app.server.listening_socket import ListenError, bound, claimed, claimed_for_grpc
from app.server.service_manager import ServiceManager
from app.server.workers import STARTED, Worker, stop_seconds_max
from app.settings import Settings
from app.tasks import Backoff

log = logger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 10.0
# A worker that ran for longer than this did not fail at its start.
_LONG_RUN_SECONDS = 30.0
_KILL_SECONDS = 1.0
# The event loop of a worker that is silent for longer than this is blocked.
_SILENCE_SECONDS_MAX = 10.0
# Stands for the exit code of a worker that could not be started.
_NOT_STARTED = -1


class _Process:
    """The running process of a worker. `lifeline` is the supervisor's end.

    `limit` is the time at which the process is killed: after its silence, or when it does not stop.
    """

    def __init__(self, pid: int, lifeline: socket.socket) -> None:
        self.pid = pid
        self.lifeline = lifeline
        self.began = time.monotonic()
        self.limit: float | None = None

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


class _Place:
    """The place of one worker: its process, or the time at which the next one starts."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: _Process | None = None
        self.due = 0.0
        self._backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)

    def vacate(self, began: float) -> None:
        """Plan the next start, after a pause that grows with each failed start."""
        self.process = None
        now = time.monotonic()
        if now - began > _LONG_RUN_SECONDS:
            self._backoff.reset()
        self.due = now + self._backoff.next()


class Supervisor:
    """Runs the workers of a service until a signal, and replaces those that die.

    `run_worker` runs a worker in its own process until it stops.
    """

    def __init__(
        self,
        settings: Settings,
        run_worker: Callable[[Worker], None],
        manager: ServiceManager,
    ) -> None:
        self._settings = settings
        self._run_worker = run_worker
        self._manager = manager
        self._places = [_Place(number) for number in range(1, settings.http.workers + 1)]
        self._selector = selectors.DefaultSelector()
        self._has_started = False
        self._is_stopping = False
        self._exit_code = 0

    def run(self, on_started: Callable[[], None]) -> int:
        """Return the exit code: 1 if the first start failed for good. Raises ListenError."""
        with (
            claimed(self._settings.http),
            claimed_for_grpc(self._settings),
            tempfile.TemporaryDirectory(prefix="flagstone-") as folder,
            _received_signals() as signals,
            self._selector,
        ):
            self._selector.register(signals, selectors.EVENT_READ)
            # No collection visits what the workers share, which would copy it.
            gc.collect()
            gc.freeze()
            while self._running or not self._is_stopping:
                self._start_workers(Path(folder))
                self._wait(signals, on_started)
                self._kill_silent()
                self._reap()
        log.info("stopped")
        return self._exit_code

    @property
    def _running(self) -> dict[int, _Process]:
        return {place.number: place.process for place in self._places if place.process is not None}

    def _start_workers(self, folder: Path) -> None:
        """Start the workers that are due: the first one alone, until it has started.

        The first one listens before it can serve. If another one were ready earlier, the service
        would report ready, while requests that reach the first one are refused.
        """
        places = self._places if self._has_started else self._places[:1]
        for place in places:
            if place.process is None and not self._is_stopping and place.due <= time.monotonic():
                try:
                    place.process = self._start(place, folder)
                except (OSError, ListenError) as error:
                    # No memory or no file descriptor left: retry, while the others serve.
                    log.exception("worker_not_made", worker=place.number, reason=str(error))
                    self._replace(place, _NOT_STARTED, time.monotonic())

    def _start(self, place: _Place, folder: Path) -> _Process:
        """Fork one worker. Raises OSError, and ListenError for its sockets."""
        ours, theirs = socket.socketpair()
        # The supervisor closes its copies at once, so that the sockets end with the worker.
        with theirs, ExitStack() as on_error:
            on_error.enter_context(ours)
            ours.setblocking(False)
            # Before the fork: nothing would replace a worker whose registration fails.
            self._selector.register(ours, selectors.EVENT_READ, place)
            on_error.callback(self._selector.unregister, ours)
            with bound(self._settings.http) as sockets:
                worker = Worker(
                    number=place.number,
                    listens_at_start=place.number == 1 and not self._has_started,
                    sockets=tuple(listener.fileno() for listener in sockets),
                    lifeline=theirs.fileno(),
                    folder=folder,
                )
                # A copy of buffered text would be written twice.
                sys.stdout.flush()
                sys.stderr.flush()
                pid = os.fork()
                if pid == 0:
                    self._become(worker, [*worker.sockets, theirs.fileno()])
            on_error.pop_all()
        return _Process(pid, ours)

    def _become(self, worker: Worker, descriptors: Sequence[int]) -> NoReturn:
        """Run the worker in the process that was just forked, and exit."""
        code = 1
        try:
            # Ctrl-C goes to the whole process group. The supervisor passes it on, once.
            os.setsid()
            # Until then, a signal to this process wakes the supervisor, which sends it again.
            for number in (*_STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            # The lifelines of other workers would seem alive after the supervisor is gone.
            _close_all_but({0, 1, 2, *descriptors})
            self._run_worker(worker)
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:  # noqa: BLE001 - the stack above belongs to the supervisor
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _wait(self, signals: socket.socket, on_started: Callable[[], None]) -> None:
        """Wait for a signal, a report of a worker, or the next limit."""
        for key, _ in self._selector.select(self._seconds_left()):
            if key.fileobj is signals:
                for number in signals.recv(64):
                    if number in _STOP_SIGNALS:
                        self._stop(signal.Signals(number))
                continue
            process: _Process = key.data.process
            reports = b""
            with suppress(ConnectionError):
                reports = process.lifeline.recv(64)
            if not reports:
                self._selector.unregister(process.lifeline)
                continue
            if not self._is_stopping:
                process.limit = time.monotonic() + _SILENCE_SECONDS_MAX
            if STARTED in reports and not self._has_started:
                self._has_started = True
                self._manager.report_ready()
                on_started()
            self._manager.beat()

    def _seconds_left(self) -> float | None:
        limits = [process.limit for process in self._running.values()]
        if not self._is_stopping:
            places = self._places if self._has_started else self._places[:1]
            limits += [place.due for place in places if place.process is None]
        known = [limit for limit in limits if limit is not None]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def _kill_silent(self) -> None:
        """Kill each worker that is past its limit."""
        for process in self._running.values():
            if process.limit is not None and process.limit <= time.monotonic():
                event = "worker_killed" if self._is_stopping else "worker_silent"
                log.error(event, pid=process.pid)
                process.limit = None
                os.kill(process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Plan the replacement of each worker that has ended."""
        for place in self._places:
            process = place.process
            if process is None or (code := process.exit_code()) is None:
                continue
            with suppress(KeyError):  # its end was seen before
                self._selector.unregister(process.lifeline)
            process.lifeline.close()
            self._replace(place, code, process.began)

    def _replace(self, place: _Place, code: int, began: float) -> None:
        place.vacate(began)
        if self._is_stopping:
            return
        if not self._has_started and code == 1:
            # The worker has logged the reason, such as a wrong password.
            self._exit_code = code
            self._stop(signal.SIGTERM)
            return
        log.error("worker_died", worker=place.number, code=code)

    def _stop(self, number: signal.Signals) -> None:
        """Pass the signal on to every worker. One that does not end in time is killed.

        A worker aborts itself at its limit. This is for one that cannot.
        """
        self._is_stopping = True
        self._manager.report_stopping()
        for process in self._running.values():
            os.kill(process.pid, number)
            process.limit = time.monotonic() + stop_seconds_max(self._settings.http) + _KILL_SECONDS


@contextmanager
def _received_signals() -> Iterator[socket.socket]:
    """Yield a socket with the number of each signal: one to stop, or the end of a child."""
    received, sending = socket.socketpair()
    with received, sending:
        received.setblocking(False)
        sending.setblocking(False)
        before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        try:
            for number in (*_STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(number, lambda *_: None)
            yield received
        finally:
            signal.set_wakeup_fd(before)


def _close_all_but(needed: set[int]) -> None:
    """Close every other file descriptor. Python's objects for them stay, unused."""
    for descriptor in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if descriptor not in needed:
            with suppress(OSError):  # that of the listing itself
                os.close(descriptor)
