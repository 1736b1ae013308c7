"""Times of the command line: by this machine's clock and zone."""

from datetime import datetime

import typer


def local_time(at: datetime) -> datetime:
    """Return the time with its zone. Raises BadParameter at the ends of the calendar."""
    try:
        return at.astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter("there is no such time in this machine's zone") from None
