"""A worker process, and its side of the lifeline to the supervisor (`supervisor.py`)."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.log import logger
from app.settings import HttpSettings

log = logger(__name__)

# A stop may take this long on top of the limits for draining and for requests.
_GRACE_SECONDS = 5.0
STARTED = b"+"
_BEAT = b"."
_BEAT_SECONDS = 1.0


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


ONLY = Worker()


def stop_seconds_max(settings: HttpSettings) -> float:
    """Return the seconds after which a process that stops aborts itself."""
    return settings.drain_seconds + 2 * settings.shutdown_timeout_seconds + _GRACE_SECONDS


def report_started(worker: Worker) -> None:
    """Report to the supervisor that this worker has started."""
    if worker.lifeline is not None:
        os.write(worker.lifeline, STARTED)


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
