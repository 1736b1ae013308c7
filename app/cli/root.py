"""The root of the command line: its commands by name.

The module of a command is imported when the command is called: importing all of them takes half a
second of processor time, and more memory than a backup may have.
"""

from collections import UserDict
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
from typer.main import get_group

from app import VERSION
from app.cli.help import CommandGroup, Commands
from app.program import IS_CHECKOUT, PROGRAM
from app.scripts import foreseen_errors

_PANELS = {
    "Start": {
        "serve": "serve:serve",
        "relay": "relay:relay",
        "probe": "probe:probe",
        "doctor": "doctor:doctor",
    },
    "Flags and configuration": {
        "flag": "flag:cli",
        "list": "list_values:cli",
        "configuration": "configuration:cli",
        "environment": "environment:cli",
        "proposal": "proposal:cli",
    },
    "Access and secrets": {
        "token": "token:cli",
        "person": "person:cli",
        "role": "role:cli",
        "grant": "grant:cli",
        "project": "project:cli",
        "access": "access:cli",
        "console": "console:cli",
        "key": "key:cli",
        "seal": "seal:cli",
    },
    "Database": {"database": "database:cli", "backup": "backup:cli", "audit": "audit:cli"},
}
_COMMANDS = {
    name: (path, panel) for panel, names in _PANELS.items() for name, path in names.items()
}


class _Lazy(UserDict[str, Any]):
    """Maps a name to its command, which is imported at each access."""

    def __getitem__(self, name: str) -> Any:
        path, panel = self.data[name]
        command = resolve_name(f"app.cli.{path}")
        parent = Commands()
        if isinstance(command, typer.Typer):
            parent.add_typer(command, name=name, rich_help_panel=panel)
        else:
            parent.command(name, rich_help_panel=panel)(command)
        return get_group(parent).commands[name]


class _Root(CommandGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Lazy(_COMMANDS)

    def invoke(self, context: typer.Context) -> Any:  # type: ignore[override]
        """Run the command. A foreseen error is one line and exit code 1."""
        with foreseen_errors():
            return super().invoke(context)


_CHECKOUT_NOTE = """\
Run them in the folder of the checkout. `python` is .venv/bin/python there, also after
    `. .venv/bin/activate`.

    """

cli = Commands(
    f"""Flagstone: configuration and feature flags, with PostgreSQL alone.

    `serve` runs the service. The other commands work beside it, on the same database. They read
    the same settings, from the environment and the file .env.

    With --url, the commands `flag`, `list`, `configuration`, `environment`, `proposal`, `token`,
    `person`, `role`, `grant`, `project` and `access` call a server instead, and need no database
    and no settings. The history then names the token as the actor.

    {_CHECKOUT_NOTE if IS_CHECKOUT else ""}Exit codes:
        0    The command succeeded.
        1    It failed, or a check found a problem. The error says what to do.
             Without an error: the reader of its output has closed the pipe.
        2    The arguments are wrong.
        70   `serve` did not stop in time after a signal, and ended itself.
        130  Ctrl-C, SIGTERM or SIGHUP ended the command.
    """,
    cls=_Root,
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"flagstone {VERSION}")
        raise typer.Exit


@cli.callback()
def flagstone(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None: ...


def run() -> None:
    """Run the command of the arguments of this process."""
    cli(prog_name=PROGRAM)
