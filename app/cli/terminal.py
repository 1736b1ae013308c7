"""Where commands print. What they print is data: no bracket in it is markup, no :word: an emoji."""

from rich.console import Console
from rich.progress import Progress, ProgressColumn

console = Console(markup=False, emoji=False)
# Where standard output must be a file, or a token, and nothing else.
aside = Console(stderr=True, markup=False, emoji=False)


def progress_display(*columns: ProgressColumn) -> Progress:
    """Return a progress display on standard error, for a terminal alone.

    Elsewhere it would write an empty line.
    """
    return Progress(*columns, console=aside, transient=True, disable=not aside.is_interactive)
