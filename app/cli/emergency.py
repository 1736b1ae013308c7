"""The option `--emergency` of commands that write: no approval in a protected environment.

Its text is the reason, which the command stores as the message of the change.
"""

from contextvars import ContextVar
from typing import Annotated, Any

import typer
from typer.main import get_command

_is_emergency: ContextVar[bool] = ContextVar("is_emergency", default=False)


def _options(
    emergency: Annotated[
        str | None,
        typer.Option(
            help="Write to a protected environment without approval, for this reason, which "
            "replaces --message. The history and the access log mark it.",
            metavar="REASON",
        ),
    ] = None,
) -> None: ...


def emergency_option() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_options)
    return get_command(app).params[0]


def begin_emergency(context: typer.Context) -> None:
    """Store whether the command got the option, for `is_emergency`. Raises BadParameter."""
    reason = context.params.pop("emergency", None)
    if reason is not None:
        if not reason.strip():
            raise typer.BadParameter("--emergency must have a reason")
        if context.params["message"]:
            raise typer.BadParameter("give --emergency or --message, not both")
        context.params["message"] = reason
    _is_emergency.set(reason is not None)


def is_emergency() -> bool:
    return _is_emergency.get()
