"""Run a command that needs no database in this process.

A command with a database sets up logging, which would stay for the tests after it.
"""

import signal
from typing import NamedTuple

from typer.testing import CliRunner

from app.cli.root import cli
from app.cli.terminal import console, error_console

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)

_WIDTH = "200"


class CommandResult(NamedTuple):
    code: int
    output: str
    errors: str


def run_command(*words: str, stdin: str = "", **environ: str | None) -> CommandResult:
    """Run a command and return its exit code, standard output and standard error.

    COLUMNS is the width of the terminal; by default every table fits.
    """
    # The consoles read COLUMNS only once, at the import.
    console.width = error_console.width = int(environ.get("COLUMNS") or _WIDTH)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        result = CliRunner().invoke(
            cli, words, input=stdin.encode("utf-8", "surrogateescape"), env=environ
        )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return CommandResult(result.exit_code, result.stdout, result.stderr)
