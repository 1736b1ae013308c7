"""Runs the blocks of one page in one bash session against a running service."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tests.paths import ROOT
from tests.process.conftest import Process
from tests.process.docs.pages import RUNNERS, Page, Step, matches
from tests.process.forks import control, link_environment
from tests.waiting import HANG_SECONDS

_NODE_MODULES = ROOT / "tests/process/clients/node_modules"
_PORT = ":8080"
# A failed command is seen anywhere in a block. make must not install packages.
_HEAD = """\
shopt -s expand_aliases
set -o errtrace
trap 'failed=1' ERR
make() { command make --old-file=runtime --old-file=tools "$@"; }
"""
_STEP = """\
failed=0
. {script} < /dev/null > {output} 2>&1
[ $failed = 0 ] || echo 'a command failed' >> {status}
echo done >> {status}
{stop}
"""


def _can_run(step: Step) -> bool:
    # make clients installs the packages of Node.
    return step.block.language != "js" or _NODE_MODULES.is_dir()


class BlockFailed(AssertionError):
    """A block fails, or does not print what the page says."""


@dataclass(frozen=True)
class Session:
    page: Page
    service: Process
    folder: Path

    async def run(self) -> None:
        """Run all blocks, and raise BlockFailed for the first that differs from the page."""
        self._link_checkout()
        steps = list(enumerate(filter(_can_run, self.page.steps())))
        script = _HEAD + "".join(self._prepare(number, step) for number, step in steps)
        await self._execute(script)
        for number, step in steps:
            self._check(number, step)

    def _link_checkout(self) -> None:
        """Let the folder look like a checkout whose data folder is that of the service."""
        for path in ROOT.iterdir():
            if path.name not in {".data", ".git", ".env", ".venv"}:
                (self.folder / path.name).symlink_to(path)
        link_environment(self.folder / ".venv")
        (self.folder / ".data").symlink_to(self.service.data_dir)
        (self.folder / "node_modules").symlink_to(_NODE_MODULES)
        # The environment that a page creates for a client has the client of the development tools.
        (self.folder / "client").symlink_to(ROOT / ".venv")
        (self.folder / ".steps").mkdir()

    def _file(self, number: int, ending: str) -> Path:
        return self.folder / ".steps" / f"{number}.{ending}"

    def _prepare(self, number: int, step: Step) -> str:
        """Write the block to a file, and return the lines that run it."""
        text = step.block.text.replace(_PORT, f":{self.service.port}")
        script, code = self._file(number, "sh"), self._file(number, "code")
        if title := step.block.title:
            code.write_text(text)
            text = f"mkdir -p {quote(str(Path(title).parent))} && cp {code} {quote(title)}\n"
        elif runner := RUNNERS[step.block.language]:
            code.write_text(text)
            text = f"{runner} - < {code}\n"
        script.write_text(text)
        return _STEP.format(
            script=script,
            output=self._file(number, "out"),
            status=self._file(number, "status"),
            stop="" if step.expected else "[ $failed = 0 ] || exit",
        )

    async def _execute(self, script: str) -> None:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "LANG": "C.UTF-8",
                "COLUMNS": "100",
                "PORT": str(self.service.port),
                # A page must not install packages, neither into this machine's Python nor into
                # the environment of the tests.
                "PIP_REQUIRE_VIRTUALENV": "true",
                "PIP_NO_INDEX": "true",
            },
            start_new_session=True,
            pass_fds=[control().fileno()],
        )
        try:
            await asyncio.wait_for(shell.wait(), HANG_SECONDS * 2)
        except TimeoutError:
            pass  # The step without a status is reported.
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)

    def _check(self, number: int, step: Step) -> None:
        output, status = self._file(number, "out"), self._file(number, "status")
        printed = output.read_text(errors="replace") if output.exists() else ""
        printed = printed.replace(f":{self.service.port}", _PORT)
        place = f"{self.page.name}:{step.block.line}\n{step.block.text}\n--- printed:\n{printed}"
        if not status.exists():
            raise BlockFailed(f"The block did not end. {place}")
        expected = step.expected
        if expected is None:
            if status.read_text() != "done\n":
                raise BlockFailed(f"A command of the block failed. {place}")
        elif not matches(expected.text, printed, is_json=expected.language == "json"):
            raise BlockFailed(f"The output differs. {place}\n--- expected:\n{expected.text}")
