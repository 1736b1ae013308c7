"""An interrupted wait still waits for the thread."""

import os
import signal
import threading
from types import FrameType

import pytest

from app.operations.backups.worker_thread import WorkerThread
from tests.waiting import HANG_SECONDS


def test_interrupted_wait_does_not_end_the_work() -> None:
    """`Thread.join` would report the end too early."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(HANG_SECONDS)

    thread = WorkerThread("work", work)
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))

    def wait() -> None:
        # The signal may come before the wait.
        timer.start()
        thread.wait(HANG_SECONDS)

    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            wait()

        assert thread.is_running
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
        go_on.set()
    assert thread.wait(HANG_SECONDS)
    assert not thread.is_running


def test_unstarted_work_is_not_running() -> None:
    thread = WorkerThread("work", lambda: None)

    assert not thread.is_running
    thread.start()
    assert thread.wait(HANG_SECONDS)
