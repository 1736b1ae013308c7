"""The end of a process that runs a command of `backup`."""

import asyncio
import os
import signal

import pytest

from app.operations.backups.child import end_child
from tests.waiting import HANG_SECONDS


async def test_end_does_not_wait_for_the_programs_of_a_killed_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.operations.backups.child.END_SECONDS", 0.2)
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", "trap '' TERM; sleep 3000 & echo begun >&2; wait"),
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stderr is not None
    await child.stderr.readline()

    try:
        async with asyncio.timeout(HANG_SECONDS):
            await end_child(child)
            while child.returncode is None:  # noqa: ASYNC110 - it comes from a thread of asyncio
                await asyncio.sleep(0.02)

        assert child.returncode == -signal.SIGKILL
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        # Its end closes the pipe of this test.
        await child.stderr.read()
