"""The README's first session works as it is printed."""

import asyncio
import re
from collections.abc import Callable

from tests.process.conftest import ROOT, Process


def _session() -> list[tuple[str, str]]:
    """Return (lines to run, what their output must contain)."""
    text = (ROOT / "README.md").read_text()
    match = re.search(r"<!-- session:.*?-->\n```sh\n(.*?)```", text, re.DOTALL)
    assert match is not None
    steps: list[tuple[str, str]] = []
    lines: list[str] = []
    for line in match[1].splitlines():
        if line.startswith("#> "):
            steps.append(("\n".join(lines), line.removeprefix("#> ")))
            lines = []
        else:
            lines.append(line)
    return steps


async def test_the_first_session_works_as_printed(launch: Callable[..., Process]) -> None:
    process = launch()
    await process.start()
    await process.ready()
    steps = _session()
    # Only the place and the port differ from what a reader has.
    script = "shopt -s expand_aliases\n" + "\n".join(
        f"{lines}\nprintf '\\n=====\\n'" for lines, _ in steps
    )
    script = script.replace(".data/", f"{process.data_dir}/").replace(":8080", f":{process.port}")

    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(shell.communicate(), 30)

    outputs = output.decode().split("\n=====\n")
    assert len(steps) == 8
    for (lines, expected), got in zip(steps, outputs, strict=False):
        assert expected in got, (lines, got)
    assert await process.stop() == 0
