"""Run a command of `backup` as a child process of the service.

A separate process cannot block the event loop, use the memory of the service, or end it.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from app.errors import reason
from app.program import python_path

# Above the command's own limit, which does not count while the process is stopped.
_WHOLE_SECONDS = 5 * 3600
END_SECONDS = 10
_OUTPUT_BYTES_MAX = 4_096
_ERROR = "error: "


async def run_command(
    command: str, *arguments: str, niceness: int = 0, descriptors: Sequence[int] = ()
) -> str | None:
    """Run a command of `backup`; return its error message, None for success.

    The child inherits `descriptors`, and so the locks on them. On cancellation the command gets
    SIGTERM, and removes its files.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app", "backup", command, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path()},
            # A new session, so that Ctrl-C in the terminal does not reach the command. We end it.
            start_new_session=True,
            pass_fds=descriptors,
        )
    except OSError as error:
        return f"backup {command} cannot be run: {reason(error)}"
    if niceness:
        with suppress(ProcessLookupError):
            # The programs that it starts inherit it.
            os.setpriority(os.PRIO_PROCESS, child.pid, niceness)
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            output = await _last_output(child)
            code = await child.wait()
    except TimeoutError:
        await end_child(child)
        return f"backup {command} did not end within {_WHOLE_SECONDS / 3600:g} hours"
    except asyncio.CancelledError:
        await end_child(child)
        raise
    if code == 0:
        return None
    if code < 0:
        return f"backup {command} was killed by signal {-code}"
    errors = [line.removeprefix(_ERROR) for line in output.splitlines() if line.startswith(_ERROR)]
    return errors[-1] if errors else f"backup {command} ended with exit code {code}"


async def _last_output(child: asyncio.subprocess.Process) -> str:
    output = b""
    while child.stderr is not None and (chunk := await child.stderr.read(_OUTPUT_BYTES_MAX)):
        output = (output + chunk)[-_OUTPUT_BYTES_MAX:]
    return output.decode(errors="replace")


async def end_child(child: asyncio.subprocess.Process) -> None:
    """End a process within twice END_SECONDS, at first with SIGTERM."""
    for end in (child.terminate, child.kill):
        with suppress(ProcessLookupError):
            end()
        # Programs that the child started may outlive it, and keep its output open.
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await child.wait()
                return
