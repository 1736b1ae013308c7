"""Generates `docs/command-line.md` from the help of the commands.

The output below an example is written by hand, and a test compares it with the real one. A new
page has the outputs of the page before.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from app.cli.help import help_text, sections, subcommands
from app.cli.root import cli
from app.program import PROGRAM

PAGE = Path("docs/command-line.md")
_TEST = "tests/process/cli/test_examples.py"
_HELP = "-h, --help"
_OUTPUT = re.compile(r"^```sh\n([^`]*)```\n\n```text\n([^`]*)```$", re.MULTILINE)
_LITERAL = re.compile(r"`[^`]+`|--[a-z-]+|\b[A-Z]+(?:_[A-Z]+)+\b|\*\w*\*?")
_CODE = re.compile(r"^(\d+) +(.+(?:\n +.+)*)$", re.MULTILINE)


def page(outputs: Mapping[str, str]) -> str:
    """Return the page. `outputs` maps an example to its output."""
    contexts = list(commands())
    codes = _CODE.findall(help_text(contexts[0]).notes["Exit codes"])
    lines = [line for context in contexts for line in _section(context, outputs)]
    rows = [(code, " ".join(about.split())) for code, about in codes]
    return "\n".join([*lines, "## Exit codes\n", *_table("Exit code", rows)])


def outputs_of(text: str) -> dict[str, str]:
    """Return the outputs that a page has, by example."""
    return {example.strip(): output for example, output in _OUTPUT.findall(text)}


def commands() -> Iterator[Any]:
    """Yield the contexts of the program, its groups and their commands."""
    root = get_command(cli)
    yield from _walk(typer.Context(root, info_name=PROGRAM, **root.context_settings))


def _walk(context: typer.Context) -> Iterator[Any]:
    yield context
    for name, command in subcommands(context):
        yield from _walk(typer.Context(command, info_name=name, parent=context))


def _section(context: Any, outputs: Mapping[str, str]) -> Iterator[str]:
    text, notes = help_text(context)
    words = context.command_path.removeprefix(PROGRAM).split()
    if not words:
        yield f"# Command line\n\n<!-- tested by {_TEST} -->\n\n{_marked(text)}\n"
        links = {name for name, _ in subcommands(context)}
        for title, section in sections(context):
            listed = [row for row in section if row[0] != _HELP]
            yield from _table(
                title,
                [(f"[`{n}`](#{n})" if n in links else f"`{n}`", about) for n, about in listed],
            )
        return
    yield f"{'#' * (len(words) + 1)} {' '.join(words)}\n\n{_marked(text)}\n"
    if example := notes.pop("Example", ""):
        yield f"```sh\n{example}\n```\n"
        if example in outputs:
            yield f"```text\n{outputs[example]}```\n"
    inherited: Mapping[str, str] = help_text(context.parent).notes if context.parent else {}
    for title, note in notes.items():
        if note != inherited.get(title):
            yield f"{title}: {_marked(' '.join(note.split()))}\n"
    if any(subcommands(context)):
        return
    rows = [row for _, section in sections(context) for row in section if row[0] != _HELP]
    yield from _table("Argument or option", [(f"`{form}`", about) for form, about in rows])


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"| {title} | |\n|---|---|"
        yield from (f"| {first} | {_marked(second)} |" for first, second in rows)
        yield ""


def _marked(text: str) -> str:
    """Return a text of the help with its literals as code."""
    return _LITERAL.sub(lambda match: f"`{match[0].strip('`')}`", text)


if __name__ == "__main__":
    PAGE.write_text(page(outputs_of(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
