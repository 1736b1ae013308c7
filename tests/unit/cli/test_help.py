"""The options that every command has."""

import pytest

from app import VERSION
from app.cli.reference import commands
from tests.commands import run_command

PATHS = [context.command_path.split()[3:] for context in commands()]


@pytest.mark.parametrize("words", PATHS, ids=" ".join)
def test_short_option_shows_the_help_of_each_command(words: list[str]) -> None:
    short, long = run_command(*words, "-h"), run_command(*words, "--help")

    assert (short.code, long.code) == (0, 0)
    assert short.output == long.output
    assert short.output.startswith("Usage: ")


def test_version_is_shown() -> None:
    assert run_command("--version")[:2] == (0, f"flagstone {VERSION}\n")


@pytest.mark.parametrize("words", [("nope",), ("flag", "nope"), ("flag", "list", "--nope")])
def test_wrong_arguments_exit_with_2(words: tuple[str, ...]) -> None:
    assert run_command(*words).code == 2
