"""The README's sessions and its lines for the SDKs work as they are printed."""

import asyncio
import os
import re
import sys
from collections.abc import Callable

import pytest

from tests.paths import ROOT
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

NODE_CLIENTS = ROOT / "tests/process/clients"


def _steps() -> list[tuple[str, str]]:
    """Return the lines to run and the expected parts of their output, for all sessions."""
    text = (ROOT / "README.md").read_text()
    sessions = re.findall(r"<!-- session.*?-->\n```sh\n(.*?)```", text, re.DOTALL)
    assert len(sessions) == 3
    steps: list[tuple[str, str]] = []
    lines: list[str] = []
    for line in "".join(sessions).splitlines():
        if line.startswith("#> "):
            steps.append(("\n".join(lines), line.removeprefix("#> ")))
            lines = []
        else:
            lines.append(line)
    return steps


@pytest.mark.first_start
async def test_sessions_work_as_printed(launch: Callable[..., Process]) -> None:
    process = launch()
    await process.start()
    await process.ready()
    steps = _steps()
    # Only the folder and the port differ from those in the README.
    script = "shopt -s expand_aliases\n" + "\n".join(
        f"{lines}\nprintf '\\n=====\\n'" for lines, _ in steps
    )
    script = script.replace(".data/", f"{process.data_dir}/").replace(":8080", f":{process.port}")

    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), stdout=asyncio.subprocess.PIPE, cwd=process.data_dir
    )
    output, _ = await asyncio.wait_for(shell.communicate(), HANG_SECONDS)

    outputs = output.decode().split("\n=====\n")
    assert len(steps) == 21
    for (lines, expected), got in zip(steps, outputs, strict=False):
        assert expected in got, (lines, got)
    assert await process.stop() == 0


async def _printed(launch: Callable[..., Process], language: str, *command: str) -> None:
    """Run the README's lines in a language against a service, and check their output."""
    process = launch()
    await process.start()
    await process.ready()
    text = (ROOT / "README.md").read_text()
    match = re.search(rf"```{language}\n((?:(?!```).)*)\n(?:#|//) (\w+)\n```", text, re.DOTALL)
    assert match is not None
    lines, expected = match.groups()

    run = await asyncio.create_subprocess_exec(
        *(*command, lines.replace(":8080", f":{process.port}")),
        env={"PATH": os.environ["PATH"], "TOKEN": process.token},
        cwd=NODE_CLIENTS,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(run.communicate(), HANG_SECONDS)

    assert output.decode().strip() == expected
    assert await process.stop() == 0


async def test_python_lines_work_as_printed(launch: Callable[..., Process]) -> None:
    await _printed(launch, "python", sys.executable, "-c")


@pytest.mark.skipif(
    not (NODE_CLIENTS / "node_modules").is_dir(),
    reason="Node's clients are installed by make clients",
)
async def test_javascript_lines_work_as_printed(launch: Callable[..., Process]) -> None:
    await _printed(launch, "js", "node", "--input-type=module", "--eval")
