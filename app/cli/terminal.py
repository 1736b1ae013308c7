"""The output of commands. It is data: a bracket is not markup, and :word: is not an emoji.

In a pipe no line is wrapped and no value is cut.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import typer
from rich.bar import Bar
from rich.console import Console
from rich.progress import (
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from app.errors import invalid

_VALUE_MAX = 60
# The length of the ID of a token with its prefix, and of an entry's UUID.
_ID_MAX = 36
_TEXT_MIN = 12
_PIPE_COLUMNS = 1000

console = Console(
    markup=False,
    emoji=False,
    highlight=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS,
)
# For messages beside an output that must be a file, or a token, and nothing else.
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show_table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None
) -> None:
    """Print a table without lines, or `none`. Columns of numbers are aligned to the right."""
    listed = list(rows)
    if not listed:
        console.print(f"{title}: none" if title else "none")
        return
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    width = 0
    for number, (heading, cells) in enumerate(
        zip(headings, zip(*listed, strict=True), strict=True)
    ):
        longest = max(len(str(cell)) for cell in (heading, *cells))
        # Names and IDs are copied into other commands, so they stay in one piece.
        is_whole = number == 0 or (longest <= _ID_MAX and not any(" " in str(c) for c in cells))
        table.add_column(
            heading,
            justify="right" if all(isinstance(cell, int) for cell in cells) else "left",
            overflow="fold",
            no_wrap=is_whole,
        )
        width += (longest if is_whole else min(longest, _TEXT_MIN)) + 1
    for row in listed:
        table.add_row(*(cell if isinstance(cell, Text | Bar) else str(cell) for cell in row))
    # Rich would cut names to the width of the terminal, which wraps longer lines itself.
    console.print(table, width=max(width, console.width))


def records(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table as objects, for --json. The texts are those of the table."""
    names = [heading.replace(" ", "_") for heading in headings]
    return [
        dict(zip(names, (str(c) if isinstance(c, Text) else c for c in row), strict=True))
        for row in rows
    ]


def progress_display(*columns: ProgressColumn) -> Progress:
    """Return a progress display on standard error, for a terminal only.

    Without a terminal it would write an empty line.
    """
    is_silent = not error_console.is_interactive
    return Progress(*columns, console=error_console, transient=True, disable=is_silent)


def counting_columns() -> tuple[ProgressColumn, ...]:
    """Return the columns that show how many are done, of how many, and the time."""
    return (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())


@contextmanager
def byte_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of bytes; yield the function that takes how many of how many are done."""
    columns = (*Progress.get_default_columns(), DownloadColumn(), TimeElapsedColumn())
    with progress_display(*columns) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(done, total))


def confirm(name: str, given: str | None, consequence: str) -> None:
    """Ask for a name before a step without return. `--confirm` replaces the question."""
    if given is None and not sys.stdin.isatty():
        rule = f"must be {name} to {consequence}, because standard input is no terminal"
        raise invalid("--confirm", rule)
    if (given or typer.prompt(f"Type {name} to {consequence}")) != name:
        raise invalid("--confirm", f"must be {name}; nothing was changed")


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    typer.echo(msgspec.json.encode(value).decode())


def shortened(value: Any) -> str:
    """Return a value as JSON, cut to fit into a table."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_MAX else text[: _VALUE_MAX - 1] + "…"
