"""The options that every command has."""

import pytest

from app import VERSION
from app.cli.reference import commands
from tests.commands import run_command

COMMANDS = {" ".join(context.command_path.split()[3:]): context for context in commands()}


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_short_option_shows_the_help_of_each_command(words: str) -> None:
    context = COMMANDS[words]
    shown = run_command(*words.split(), "-h")

    assert set(context.command.get_help_option_names(context)) == {"-h", "--help"}
    assert shown.code == 0
    assert shown.output.startswith("Usage: ")


def test_version_is_shown() -> None:
    assert run_command("--version")[:2] == (0, f"flagstone {VERSION}\n")


@pytest.mark.parametrize("words", [("nope",), ("flag", "nope"), ("flag", "list", "--nope")])
def test_wrong_arguments_exit_with_2(words: tuple[str, ...]) -> None:
    assert run_command(*words).code == 2
