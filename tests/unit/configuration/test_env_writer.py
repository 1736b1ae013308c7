"""An exported `.env` file is safe to source, and all common readers return the same values."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.document_reader import read_document
from app.configuration.transfer.documents import Format
from app.configuration.transfer.env_writer import env_lines, env_values
from app.http.decoder import VALUE_BYTES_MAX
from tests.examples import examples
from tests.waiting import HANG_SECONDS

Read = Callable[[Path, list[str]], dict[str, str | None]]

# Special characters of shells, of readers of `.env`, and of terminals.
SPECIAL = (
    "' \" \\ $ ` \n \r # ! = ~ * ? [ ] { } ( ) & | ; < > % ^ é \t \x01 \x1b \x7f \u0085 \u2028 "
    "\ufeff \U0001f600 \\n \\\\ ${A} $A $(id) `id` export a  :"
)
TEXTS = st.lists(st.sampled_from([*SPECIAL.split(" "), " ", ""]), max_size=6).map("".join)
ANY_TEXT = TEXTS | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
# Each reader gets one process, since starting it takes longer than a thousand values.
BATCH = st.lists(ANY_TEXT, min_size=100, max_size=300)


def of_shell(*command: str) -> Read:
    def read(path: Path, names: list[str]) -> dict[str, str | None]:
        shown = " ".join(f'"${name}"' for name in names)
        script = path.with_suffix(".sh")
        script.write_text(f'. {shlex.quote(str(path))}\nprintf "%s\\0" {shown}\n')
        run = subprocess.run(
            [*command, str(script)], capture_output=True, check=True, timeout=HANG_SECONDS
        )
        assert run.stderr == b""
        return dict(zip(names, run.stdout.decode().split("\0"), strict=False))

    return read


def of_dotenv(path: Path, _names: list[str]) -> dict[str, str | None]:
    return dotenv_values(path)


def of_node(path: Path, _names: list[str]) -> dict[str, str | None]:
    command = ["node", f"--env-file={path}", "-p", "JSON.stringify(process.env)"]
    run = subprocess.run(command, capture_output=True, check=True, timeout=HANG_SECONDS)
    values: dict[str, str | None] = json.loads(run.stdout)
    return values


def of_ours(path: Path, _names: list[str]) -> dict[str, str | None]:
    document = read_document(path.read_bytes(), Format.ENV)
    return {key: content.value for key, content in document.entries.items()}


READERS: dict[str, Read] = {
    "sh": of_shell("sh"),
    "dash": of_shell("dash"),
    "bash": of_shell("bash"),
    "bash --posix": of_shell("bash", "--posix"),
    "zsh": of_shell("zsh", "-f"),
    "python-dotenv": of_dotenv,
    "node": of_node,
    "ours": of_ours,
}


def settings(values: dict[str, str]) -> dict[str, Content]:
    return {key: Content(kind=Kind.SETTING, value=value) for key, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@given(texts=BATCH)
@hypothesis_settings(max_examples=examples(5), deadline=None)
def test_env_export_is_equal_to_every_reader(
    tmp_path_factory: pytest.TempPathFactory, reader: str, texts: list[str]
) -> None:
    program = reader.partition(" ")[0]
    if program not in {"python-dotenv", "ours"} and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path = tmp_path_factory.getbasetemp() / f"{program}.env"
    entries = settings({f"K{number}": text for number, text in enumerate(texts)})
    path.write_bytes("".join(env_lines(entries)).encode())
    names = list(env_values(entries))

    read = READERS[reader](path, names)

    assert {name: read[name] for name in names} == {name: entries[name].value for name in names}


@pytest.mark.parametrize(
    "value", ["a'b\"c", "it's $5", "a\rb", "${HOME}", "a\\\\b", "it's \\", "'`id`'", "\\", "C:\\"]
)
def test_env_export_names_value_without_common_form(value: str) -> None:
    lines = list(env_lines(settings({"A": value, "B": "1"})))

    assert lines == ["# Left out, because this format cannot hold them: A\n", "B=1\n"]


def test_env_export_value_of_open_braces_is_linear() -> None:
    """A search for `${NAME}` from each `${` took a minute for the largest value."""
    value = "${" * (VALUE_BYTES_MAX // 2 - 1)

    assert list(env_lines(settings({"A": value}))) == [f"A='{value}'\n"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("it's\n$(touch x", None),
        ("it's", 'A="it\'s"\n'),
        ("$(touch x)", "A='$(touch x)'\n"),
        ("a\nb", "A='a\nb'\n"),
        ("a\\nb", "A='a\\nb'\n"),
        ("{}${", "A='{}${'\n"),
        ("", "A=''\n"),
    ],
)
def test_env_export_quotes_shell_syntax(value: str, line: str | None) -> None:
    lines = list(env_lines(settings({"A": value})))

    assert lines == (
        ["# Left out, because this format cannot hold them: A\n"] if line is None else [line]
    )


@pytest.mark.parametrize(
    "name",
    [
        "UID",
        "PPID",
        "IFS",
        "PS1",
        "PROMPT_COMMAND",
        "_",
        "path",
        "BASH_COMPAT",
        "BASH_XTRACEFD",
        "HISTCHARS",
        "ZLE_RPROMPT_INDENT",
    ],
)
def test_env_export_leaves_out_names_of_shells(name: str) -> None:
    assert env_values(settings({name: "x", "UID_OF_APP": "x"})) == {"UID_OF_APP": "x"}
