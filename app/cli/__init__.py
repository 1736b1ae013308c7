"""The verbs of the command line.

What belongs to a verb is imported when that verb is called: all of it together takes half a second
of processor time, and more memory than a backup may have.
"""

from collections import UserDict
from pkgutil import resolve_name
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

_HIDDEN = "serve-worker"
_VERBS = {
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
    """Typer's command of each verb, made at each look."""

    def __getitem__(self, verb: str) -> Any:
        found = resolve_name(f"{__name__}.{self.data[verb]}")
        holder = typer.Typer()
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=verb)
        else:
            holder.command(verb, hidden=verb == _HIDDEN)(found)
        return get_group(holder).commands[verb]


class _Verbs(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(_VERBS)


cli = typer.Typer(
    name="flagstone",
    cls=_Verbs,
    no_args_is_help=True,
    # Local variables in a traceback would show passwords.
    pretty_exceptions_enable=False,
)


@cli.callback()
def flagstone() -> None:
    """Configuration and feature flags on nothing but PostgreSQL."""
