"""Sessions of pytest that are killed, crash or hang, in child processes with our own conftest."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.paths import ROOT
from tests.waiting import until

# Bounds the wait on a slow machine.
END_SECONDS = 240


@asynccontextmanager
async def inner_session(folder: Path, keyword: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov"),
        *("--numprocesses=1", "-k", keyword, "tests/process/inner_session.py"),
        cwd=ROOT,
        env={**os.environ, "INNER_SESSION_FOLDER": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["controller", "all"])
async def test_killed_session_leaves_nothing(tmp_path: Path, killed: str) -> None:
    names_file = tmp_path / "names"
    async with inner_session(tmp_path, "hold") as child:
        await until(lambda: _true(names_file.exists()))
        names = json.loads(names_file.read_text())
        pids = [names["worker"], names["postmaster"]]
        folder = Path(names["folder"]).parent
        assert all(map(_is_running, pids))
        assert folder.name.startswith("flagstone-tests-")

        child.kill()
        if killed == "all":
            os.kill(names["worker"], signal.SIGKILL)

        await until(lambda: _true(not any(map(_is_running, pids))))
        await until(lambda: _true(not folder.exists()))


@pytest.mark.slow
async def test_session_names_failures_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    async with inner_session(tmp_path, "crash or hang") as child:
        output, _ = await asyncio.wait_for(child.communicate(), END_SECONDS)

    text = output.decode()
    assert text.count("node down: Not properly terminated") == 1
    for phase, name in (("???", "crash"), ("call", "hang"), ("teardown", "hang_in_fixture")):
        assert f"FAILED in {phase}: tests/process/inner_session.py::test_{name}\n" in text
    assert "2 failed, 3 passed, 1 error" in text
    assert "INTERNALERROR" not in text


async def _true(value: bool) -> bool:  # noqa: FBT001 - the result of a condition
    return value


def _is_running(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
