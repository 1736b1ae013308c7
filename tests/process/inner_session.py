"""Tests for the sessions of `test_session.py`. The suite itself does not collect them."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import started


def test_hold(open_folder: Path) -> None:
    """Write down the processes and the folder of this session, then wait to be killed."""
    with started(open_folder):
        pid = int((open_folder / "pg18/postmaster.pid").read_text().split()[0])
        names = {"folder": str(open_folder), "postmaster": pid, "worker": os.getpid()}
        unfinished = Path(os.environ["INNER_SESSION_FOLDER"]) / "names.new"
        unfinished.write_text(json.dumps(names))
        unfinished.rename(unfinished.with_suffix(""))
        time.sleep(300)


def test_crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_after_crash() -> None:
    """After the death of a worker, the session must run its other tests."""


@pytest.mark.timeout(2)
def test_hang() -> None:
    time.sleep(300)


@pytest.fixture
def hanging() -> Iterator[None]:
    yield
    # Simulate the time limit of this phase.
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    time.sleep(300)


def test_hang_in_fixture(hanging: None) -> None:
    """The teardown hangs."""


def test_after_hang() -> None:
    """After a timeout, the session must run its other tests."""
