"""Arguments and options that several commands share."""

from datetime import datetime
from typing import Annotated

import typer

from app.configuration.changes.past import Moment

EnvironmentName = Annotated[str, typer.Argument(help="Name of the environment.")]
Message = Annotated[
    str, typer.Option("--message", "-m", help="Reason for the change, stored in the history.")
]
OnlyPrefixes = Annotated[
    list[str] | None,
    typer.Option(
        "--prefix",
        help="Only keys that begin with this. Repeat it for several prefixes.",
        metavar="PREFIX",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
]
At = Annotated[
    datetime | None,
    typer.Option(help="State at this time, in this machine's time zone, instead of --revision."),
]
Revision = Annotated[
    int | None, typer.Option(min=0, help="State at this revision; the latest by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def local_time(at: datetime) -> datetime:
    """Return a time with this machine's zone. Raises BadParameter at the ends of the calendar."""
    try:
        return at.astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter("there is no such time in this machine's time zone") from None


def moment(revision: int | None, at: datetime | None) -> Moment | None:
    """Return the moment that two options name; None for the latest state."""
    if at is None:
        return revision
    if revision is not None:
        raise typer.BadParameter("give a revision or --at, not both")
    return local_time(at)
