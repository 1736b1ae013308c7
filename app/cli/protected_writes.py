"""The options of commands that write in a protected environment: `--propose` and `--emergency`."""

from contextvars import ContextVar
from typing import Annotated, Any

import typer
from typer.main import get_command

_is_emergency: ContextVar[bool] = ContextVar("is_emergency", default=False)
_is_proposed: ContextVar[bool] = ContextVar("is_proposed", default=False)


class ProposedError(Exception):
    """The write became a proposal, which is a `ProposalView`. Nothing else was written."""

    def __init__(self, proposal: Any) -> None:
        super().__init__()
        self.proposal = proposal


def _options(
    emergency: Annotated[
        str | None,
        typer.Option(
            help="Write to a protected environment without approval, for this reason, which "
            "replaces --message. The history and the access log mark it.",
            metavar="REASON",
        ),
    ] = None,
    *,
    propose: Annotated[
        bool,
        typer.Option(
            "--propose", help="Propose the change if it needs approval, instead of failing."
        ),
    ] = False,
) -> None: ...


def options() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_options)
    return get_command(app).params[:2]


def begin_write(context: typer.Context) -> None:
    """Store the options of the command. Raises BadParameter."""
    reason, propose = context.params.pop("emergency", None), context.params.pop("propose", False)
    if reason is not None:
        if not reason.strip():
            raise typer.BadParameter("--emergency must have a reason")
        if context.params["message"]:
            raise typer.BadParameter("give --emergency or --message, not both")
        if propose:
            raise typer.BadParameter("give --emergency or --propose, not both")
        context.params["message"] = reason
    _is_emergency.set(reason is not None)
    _is_proposed.set(propose)


def is_emergency() -> bool:
    return _is_emergency.get()


def is_proposed() -> bool:
    return _is_proposed.get()
