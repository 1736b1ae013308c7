"""The commands of docs/deployment.md exist, with their options and files."""

import re
import shlex

import pytest

from app.cli.help import subcommands
from app.cli.reference import commands
from tests.paths import ROOT
from tests.process.docs.pages import Page

PAGE = Page(ROOT / "docs/deployment.md")
LINES = [
    line
    for block in PAGE.blocks
    for line in block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh"
]
OPTIONS = {
    " ".join(context.command_path.split()[3:]): {
        option for parameter in context.command.params for option in parameter.opts
    }
    for context in commands()
    if not any(subcommands(context))
}


def _flagstone_commands() -> list[list[str]]:
    """Return the words of each command after the program, also of those in tables."""
    quoted = re.findall(r"`(flagstone [^`]+)`", PAGE.text)
    found = [
        match[1]
        for line in [*LINES, *quoted]
        for match in [re.search(r"^.*(?<![\w-])flagstone ((?:[a-z]+ ?)+(?:--?\S+ ?)*)'?$", line)]
        if match and not line.startswith(("docker build", "docker run", "systemctl", "make"))
    ]
    return [shlex.split(text) for text in dict.fromkeys(found)]


@pytest.mark.parametrize("words", _flagstone_commands(), ids=" ".join)
def test_command_of_the_page_exists(words: list[str]) -> None:
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in OPTIONS), "unknown")

    assert name in OPTIONS
    assert {word for word in words if word.startswith("--")} <= OPTIONS[name]


def test_page_has_each_kind_of_command() -> None:
    names = {tuple(words[:2]) for words in _flagstone_commands()}

    assert {("token", "create"), ("database", "provision"), ("console", "link")} <= names


def test_files_of_the_page_exist() -> None:
    files = {
        path
        for line in [*LINES, *re.findall("`([^`\n]+)`", PAGE.text)]
        for path in re.findall(r"\bdeploy/[A-Za-z.]+|requirements\.lock", line)
    }

    assert len(files) == 6
    assert all((ROOT / file).is_file() for file in files)


def test_build_arguments_of_the_page_exist() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    section = PAGE.text.partition("| build argument |")[2].partition("\n\n")[0]

    names = set(re.findall(r"`([A-Z_]{4,})`", section))

    assert names == set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE)) - {
        "REVISION",
        "VERSION",
    }


def test_credentials_of_the_page_are_those_of_the_unit() -> None:
    unit = (ROOT / "deploy/flagstone.service").read_text()
    loaded = set(re.findall("LoadCredentialEncrypted=(.*)", unit))

    encrypted = {match[1] for line in LINES if (match := re.search(r"encrypt --name=(\S+)", line))}

    assert encrypted == loaded
