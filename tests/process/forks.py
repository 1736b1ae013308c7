"""Start commands as forks of a process that has imported all of app/.

Imports are most of the processor time of a command. A fork has no imports to do, and is otherwise a
process of its own: it has its own arguments, environment, streams, signals and exit code.
"""

import asyncio
import atexit
import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

import app
from app.cli.root import cli
from app.cli.terminal import console, error_console
from tests.paths import ROOT
from tests.process.fork_client import NUMBER, ask
from tests.waiting import HANG_SECONDS


class Fork:
    """A forked process, with those methods of `asyncio.subprocess.Process` that tests use."""

    def __init__(self, pid: int, keeper: socket.socket) -> None:
        self.pid = pid
        self._code = asyncio.create_task(self._exit_code(keeper))

    @property
    def returncode(self) -> int | None:
        return self._code.result() if self._code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def _exit_code(self, keeper: socket.socket) -> int:
        with keeper:
            return await _number(keeper)


async def fork(
    module: str,
    *arguments: str,
    environ: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    stdin: IO[bytes] | None = None,
    cwd: Path = ROOT,
) -> Fork:
    """Run a module as `python -m` does."""
    keeper = _ask([module, *arguments], environ, cwd, stdin, output, errors)
    return Fork(await _number(keeper), keeper)


def _ask(
    argv: Sequence[str], environ: Mapping[str, str], cwd: Path, *streams: IO[bytes] | None
) -> socket.socket:
    with Path(os.devnull).open("rb") as nothing:
        descriptors = [(stream or nothing).fileno() for stream in streams]
        keeper = ask(control(), argv, environ, str(cwd), *descriptors)
    keeper.setblocking(False)
    return keeper


def link_environment(folder: Path) -> None:
    """Make a virtual environment whose `python -m app` forks. It needs `control()` open."""
    original = Path(sys.executable).parent
    bin_ = folder / "bin"
    bin_.mkdir(parents=True)
    for path in original.iterdir():
        if path.name != "python":
            (bin_ / path.name).symlink_to(path)
    client = f"{original / 'python'} -IS {ROOT}/tests/process/fork_client.py {control().fileno()}"
    (bin_ / "python").write_text(
        f"""#!/bin/sh
if [ "$1 $2" = "-m app" ]; then exec {client} "$@"; fi
exec {original / "python"} "$@"
"""
    )
    (bin_ / "python").chmod(0o755)


def control() -> socket.socket:
    """Return the socket for requests to the server of this test process."""
    return _started()[1]


def stop() -> None:
    """Stop the server if it was started. Coverage then has its imports."""
    if _started.cache_info().currsize:
        server, ours = _started()
        ours.close()
        server.wait(HANG_SECONDS)
        _started.cache_clear()


@cache
def _started() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the server. It ends when this end of the socket is closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.process.forks", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    return server, ours


async def _number(keeper: socket.socket) -> int:
    (number,) = NUMBER.unpack(await asyncio.get_running_loop().sock_recv(keeper, NUMBER.size))
    return int(number)


def _serve(control: socket.socket) -> None:
    """Fork a process for each request, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The kernel removes the keepers when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        mark, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not mark:
            return
        if not os.fork():
            control.close()
            _keep(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(descriptor: int, *streams: int) -> None:
    """Fork the process, and report its ID and its exit code."""
    connection = socket.socket(fileno=descriptor)
    with connection.makefile("rb") as lines:
        argv, environ, cwd = json.loads(lines.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        connection.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        time.tzset()
        # The consoles read it at the import.
        console.width = error_console.width = int(environ.get("COLUMNS", 80))
        sys.argv = argv
        _run(argv[0])
    for stream in streams:
        os.close(stream)
    connection.sendall(NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _run(module: str) -> NoReturn:
    """Run a module, and end as an interpreter does, except that the kernel frees the memory.

    To free each object takes longer than a command, because it copies all pages.
    """
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    if not isinstance(code, int):
        sys.exit(str(code))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def main() -> None:
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # Typer imports most of its modules during the first command.
    with suppress(SystemExit):
        cli(["flag", "lint", "--help"])
    # Collections in a fork do not copy the pages of these objects.
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
