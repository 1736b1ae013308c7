"""Read `.env` text in linear time, with the meaning that python-dotenv gives it.

Where python-dotenv cannot read a quoted value, the shell's meaning holds: pieces with and without
quotes that touch are one value, as in 'I'"'"'m here'.

python-dotenv matches whole files with regular expressions. Some of them take quadratic time, and
none releases the interpreter: a file of a few megabytes stops the event loop, even from a thread.
Here each step reads at most one value, so that other threads get their turn.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.errors import Malformed, TooLarge, Violation, malformed
from app.http.decoder import VALUE_BYTES_MAX

# Comments and empty lines included.
LINES_MAX = 200_000
# A value as it is written: each of its characters may be escaped.
_VALUE_CHARACTERS_MAX = 2 * VALUE_BYTES_MAX

# Every repetition has a limit. Longer runs are matched in several steps.
_SPACE = re.compile(r"\s{1,4096}")
_BLANK = re.compile(r"[^\S\r\n]{1,4096}")
_EXPORT = re.compile(r"export(?=[^\S\r\n])")
_NAME = re.compile(r"[^=#\s]{1,1024}")
_QUOTED_NAME = re.compile(r"'([^']{1,1024})'")
_LINE_END = re.compile(r"\r\n|\n|\r|\Z")
_COMMENT = re.compile(r"\s#")
_BARE = re.compile(r"[^\s'\"\\]{1,4096}")
_SHELL_ESCAPES = re.compile(r"\\([$`\"\\])")
_ESCAPES = {"'": re.compile(r"\\[\\']"), '"': re.compile(r"\\[\\'\"abfnrtv]")}
_MEANINGS = {
    rf"\{letter}": codecs.decode(rf"\{letter}", "unicode-escape") for letter in "\\'\"abfnrtv"
}


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One name, with the line that it is on; `value` is None when no = sign follows."""

    name: str
    value: str | None = field(repr=False)
    line: int


def read_bindings(text: str) -> Iterator[Binding]:
    """Yield each binding. Raises Malformed that names the line, or TooLarge that names the key."""
    if text.count("\n") + text.count("\r") > LINES_MAX:
        raise malformed("file", f"must not have more than {LINES_MAX} lines")
    place = _skip(_SPACE, text, 0)
    line = 1 + _lines(text, 0, place)
    while place < len(text):
        start = place
        place, name, value = _binding(text, place, line)
        if name is not None:
            yield Binding(name=name, value=value, line=line)
        place = _skip(_SPACE, text, place)
        line += _lines(text, start, place)


def _binding(text: str, place: int, line: int) -> tuple[int, str | None, str | None]:
    """Return the end of the statement at a place, its name and its value."""
    value = None
    if export := _EXPORT.match(text, place):
        place = _skip(_BLANK, text, export.end())
    name = None
    if not text.startswith("#", place):
        pattern = _QUOTED_NAME if text.startswith("'", place) else _NAME
        match = pattern.match(text, place)
        if match is None:
            raise _unreadable(line)
        name, place = match[match.lastindex or 0], match.end()
    place = _skip(_BLANK, text, place)
    if text.startswith("=", place):
        after = place + 1
        place = _skip(_BLANK, text, after)
        # Directly after the equals sign, a number sign belongs to the value.
        if place > after and text.startswith("#", place):
            value = ""
        else:
            place, value = _value(text, place, name or "", line)
        place = _skip(_BLANK, text, place)
    if text.startswith("#", place):
        place = _line_end(text, place)
    end = _LINE_END.match(text, place)
    if end is None:
        raise _unreadable(line)
    return end.end(), name, value


def _value(text: str, place: int, name: str, line: int) -> tuple[int, str]:
    quote = text[place : place + 1]
    if quote in _ESCAPES:
        end = _closing_quote(text, place + 1, quote, name)
        if end is None or not _is_end(text, end + 1):
            return _shell_value(text, place, name, line)
        escapes = _ESCAPES[quote]
        return end + 1, escapes.sub(lambda match: _MEANINGS[match[0]], text[place + 1 : end])
    end = _line_end(text, place)
    # A long comment may follow a short value.
    written = text[place : min(end, place + _VALUE_CHARACTERS_MAX)]
    comment = _COMMENT.search(written)
    if comment is None and end - place > len(written):
        raise _too_large(name)
    return end, (written[: comment.start()] if comment else written).rstrip()


def _shell_value(text: str, place: int, name: str, line: int) -> tuple[int, str]:
    """Return the end and the meaning of a word of the shell; no variable is replaced."""
    start = place
    pieces: list[str] = []
    while place < len(text) and not text[place].isspace():
        if text[place] == "'":
            end = text.find("'", place + 1)
            piece = text[place + 1 : end]
        elif text[place] == '"':
            closing = _closing_quote(text, place + 1, '"', name)
            end = -1 if closing is None else closing
            piece = _SHELL_ESCAPES.sub(r"\1", text[place + 1 : end])
        elif text[place] == "\\":
            end = place + 1 if text[place + 1 : place + 2] not in {"\n", "\r"} else -1
            piece = text[end : end + 1]
        else:
            bare = _BARE.match(text, place)
            end, piece = (bare.end() - 1, bare[0]) if bare else (-1, "")
        if end < 0:
            raise _unreadable(line)
        if end - start > _VALUE_CHARACTERS_MAX:
            raise _too_large(name)
        pieces.append(piece)
        place = end + 1
    return place, "".join(pieces)


def _is_end(text: str, place: int) -> bool:
    """Tell whether a statement can end here: before a comment or a line break."""
    place = _skip(_BLANK, text, place)
    return text.startswith("#", place) or _LINE_END.match(text, place) is not None


def _closing_quote(text: str, start: int, quote: str, name: str) -> int | None:
    """Return where the value ends: at a quote that an even number of backslashes precedes."""
    place = start
    while (end := text.find(quote, place)) >= 0:
        if end - start > _VALUE_CHARACTERS_MAX:
            raise _too_large(name)
        before = text[place:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return end
        place = end + 1
    return None


def _line_end(text: str, place: int) -> int:
    """Return where the line ends, before its line break."""
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    # Searched up to there alone: a file without this character would be read whole for each line.
    carriage = text.find("\r", place, end)
    return end if carriage < 0 else carriage


def _skip(pattern: re.Pattern[str], text: str, place: int) -> int:
    while match := pattern.match(text, place):
        place = match.end()
    return place


def _lines(text: str, start: int, end: int) -> int:
    """Return how many line breaks there are; a carriage return with its line feed is one."""
    feeds, returns = text.count("\n", start, end), text.count("\r", start, end)
    return feeds + returns - text.count("\r\n", start, end)


def _unreadable(line: int) -> Malformed:
    return malformed("file", f"cannot be read at line {line}")


def _too_large(name: str) -> TooLarge:
    rule = f"must not be larger than {VALUE_BYTES_MAX} bytes as JSON"
    return TooLarge("value_too_large", f"{name}: {rule}", [Violation(name, rule)])
