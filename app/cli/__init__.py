"""The commands of the command line.

The module of a command is imported when the command is called: importing all of them takes half a
second of processor time, and more memory than a backup may have.
"""

from collections import UserDict
from pkgutil import resolve_name
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from app.scripts import foreseen_errors

_HIDDEN = "serve-worker"
_COMMANDS = {
    "serve": "serve:serve",
    _HIDDEN: "serve:serve_worker",
    "doctor": "doctor:doctor",
    "database": "database:cli",
    "token": "token:cli",
    "key": "key:cli",
    "seal": "seal:cli",
    "backup": "backup:cli",
    "audit": "audit:cli",
    "environment": "environment:cli",
    "configuration": "configuration:cli",
    "flag": "flag:cli",
}


class _Commands(UserDict[str, Any]):
    """Maps a name to its command, which is imported at each access."""

    def __getitem__(self, name: str) -> Any:
        command = resolve_name(f"{__name__}.{self.data[name]}")
        parent = typer.Typer()
        if isinstance(command, typer.Typer):
            parent.add_typer(command, name=name)
        else:
            parent.command(name, hidden=name == _HIDDEN)(command)
        return get_group(parent).commands[name]


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(_COMMANDS)

    def invoke(self, context: typer.Context) -> Any:  # type: ignore[override]
        """Run the command. A foreseen error is one line and exit code 1."""
        with foreseen_errors():
            return super().invoke(context)


cli = typer.Typer(
    name="flagstone",
    cls=_Group,
    no_args_is_help=True,
    # A traceback with local variables would print passwords.
    pretty_exceptions_enable=False,
)


@cli.callback()
def flagstone() -> None:
    """Configuration and feature flags on nothing but PostgreSQL."""
