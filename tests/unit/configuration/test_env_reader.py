"""The reader of `.env` text: it agrees with python-dotenv, in linear time."""

import shlex
from io import StringIO

import pytest
from dotenv.parser import parse_stream
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.transfer.env_reader import read_bindings
from app.errors import Malformed, TooLarge
from tests.examples import examples

PIECES = (
    "A a_B 'k' = = == ' \" \\ \\\\ \\' \\\" \\n # #c export export\t  \t \n \r \r\n \x0b é \u2028"
)
MEGABYTE = 1024 * 1024


def bindings(text: str) -> dict[str, str | None] | None:
    """Return the bindings, or None when the reader refuses the text."""
    try:
        return {binding.name: binding.value for binding in read_bindings(text)}
    except Malformed:
        return None


@given(st.lists(st.sampled_from([*PIECES.split(" "), " "]), max_size=30).map("".join))
@hypothesis_settings(max_examples=examples(400), deadline=None)
def test_env_text_is_read_as_dotenv_does(text: str) -> None:
    theirs = list(parse_stream(StringIO(text)))
    expected = {read.key: read.value for read in theirs if read.key is not None}

    read = bindings(text)
    if not any(read.error for read in theirs):
        assert read == expected


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@hypothesis_settings(max_examples=examples(300), deadline=None)
def test_env_value_quoted_for_a_shell_is_read(text: str) -> None:
    """For a single quote shlex writes several pieces, which python-dotenv cannot read."""
    text = f"{text}'{text}"

    assert bindings(f"A={shlex.quote(text)} # c\nB=1\n") == {"A": text, "B": "1"}


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("'I'\"'\"'m'", "I'm"),
        ("'I'\\''m'", "I'm"),
        ('"a"b', "ab"),
        ('\'a\'"\\"$x\\$\\n"', 'a"$x$\\n'),
        ("'C:\\'", "C:\\"),
        ("'a' # b", "a"),
        ("'a'#b", "a"),
        ('a"b"', 'a"b"'),
    ],
)
def test_env_value_of_several_pieces_is_one(value: str, meaning: str) -> None:
    assert bindings(f"A={value}\nB=1") == {"A": meaning, "B": "1"}


@pytest.mark.parametrize("value", ["'a' b", "'a'\"b", "'a'\\\nb", "'a'b c"])
def test_env_value_that_no_reader_takes_is_refused(value: str) -> None:
    assert bindings(f"A={value}\nB=1") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\n\n\n  B C\n", 4), ('A="1\n2\r\n3\r4"\nB="5\n', 5), ("# one\r\r=", 3)],
)
def test_unreadable_env_line_is_named(text: str, line: int) -> None:
    with pytest.raises(Malformed, match=f"cannot be read at line {line}$"):
        list(read_bindings(text))


@pytest.mark.parametrize(
    "text",
    [
        'A="' + "\\" * 8 * MEGABYTE + '"',
        "A='" + "\\'" * 4 * MEGABYTE + "'",
        "A=" + "x" * 8 * MEGABYTE,
        "A=x" + " " * 8 * MEGABYTE + "y",
    ],
    ids=["backslashes", "quotes", "one word", "spaces"],
)
def test_env_value_beyond_its_size_is_refused(text: str) -> None:
    with pytest.raises(TooLarge, match=r"^A: must not be larger than 262144 bytes"):
        list(read_bindings(text))


@pytest.mark.parametrize(
    "text",
    [
        " " * 8 * MEGABYTE + "A=1",
        "A=1 #" + " #" * 4 * MEGABYTE,
        "A" + "\t" * 8 * MEGABYTE + "=" + " " * 8 * MEGABYTE + "1",
        "A=1\n" + "#'\"\\" * 2 * MEGABYTE,
    ],
    ids=["indentation", "comment", "blanks", "comment of quotes"],
)
def test_env_blanks_and_comments_may_be_long(text: str) -> None:
    assert bindings(text) == {"A": "1"}


@pytest.mark.parametrize("quote", ["'", '"'])
def test_env_quote_without_an_end_is_refused(quote: str) -> None:
    text = f"A={quote}x{quote}\n" * 3 + f"B={quote}" + "\n" * 1000

    with pytest.raises(Malformed, match="cannot be read at line 4"):
        list(read_bindings(text))
