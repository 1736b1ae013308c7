"""Read `.env` text in linear time, with the meaning that python-dotenv gives it.

A quoted value that python-dotenv cannot read is read as in a shell: adjacent pieces with and
without quotes are one value, as in 'I'"'"'m here'.

python-dotenv matches whole files with regular expressions. Some take quadratic time, and none
releases the GIL: a file of a few megabytes would block the event loop, even from a thread. Here
each step reads at most one value.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.errors import Malformed, TooLarge, Violation, malformed
from app.http.decoder import VALUE_BYTES_MAX

# The limit includes comments and empty lines.
LINES_MAX = 200_000
# In a quoted value each character can be escaped.
_VALUE_CHARACTERS_MAX = 2 * VALUE_BYTES_MAX

# Every repetition has a limit, so longer runs are matched in several steps.
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
    """A name with its line. `value` is None without an equals sign."""

    name: str
    value: str | None = field(repr=False)
    line: int


def read_bindings(text: str) -> Iterator[Binding]:
    """Yield each binding. Raises Malformed, naming the line, or TooLarge, naming the key."""
    if text.count("\n") + text.count("\r") > LINES_MAX:
        raise malformed("file", f"must not have more than {LINES_MAX} lines")
    position = _skip(_SPACE, text, 0)
    line = 1 + _lines(text, 0, position)
    while position < len(text):
        start = position
        position, name, value = _binding(text, position, line)
        if name is not None:
            yield Binding(name=name, value=value, line=line)
        position = _skip(_SPACE, text, position)
        line += _lines(text, start, position)


def _binding(text: str, position: int, line: int) -> tuple[int, str | None, str | None]:
    """Return the end of the statement at a position, its name and its value."""
    value = None
    if export := _EXPORT.match(text, position):
        position = _skip(_BLANK, text, export.end())
    name = None
    if not text.startswith("#", position):
        pattern = _QUOTED_NAME if text.startswith("'", position) else _NAME
        match = pattern.match(text, position)
        if match is None:
            raise _unreadable(line)
        name, position = match[match.lastindex or 0], match.end()
    position = _skip(_BLANK, text, position)
    if text.startswith("=", position):
        after = position + 1
        position = _skip(_BLANK, text, after)
        # A number sign directly after the equals sign belongs to the value.
        if position > after and text.startswith("#", position):
            value = ""
        else:
            position, value = _value(text, position, name or "", line)
        position = _skip(_BLANK, text, position)
    if text.startswith("#", position):
        position = _line_end(text, position)
    end = _LINE_END.match(text, position)
    if end is None:
        raise _unreadable(line)
    return end.end(), name, value


def _value(text: str, position: int, name: str, line: int) -> tuple[int, str]:
    quote = text[position : position + 1]
    if quote in _ESCAPES:
        end = _closing_quote(text, position + 1, quote, name)
        if end is None or not _is_end(text, end + 1):
            return _shell_value(text, position, name, line)
        escapes = _ESCAPES[quote]
        return end + 1, escapes.sub(lambda match: _MEANINGS[match[0]], text[position + 1 : end])
    end = _line_end(text, position)
    # A long comment can follow a short value.
    written = text[position : min(end, position + _VALUE_CHARACTERS_MAX)]
    comment = _COMMENT.search(written)
    if comment is None and end - position > len(written):
        raise _too_large(name)
    return end, (written[: comment.start()] if comment else written).rstrip()


def _shell_value(text: str, position: int, name: str, line: int) -> tuple[int, str]:
    """Return the end and the value of a shell word. Variables are not replaced."""
    start = position
    pieces: list[str] = []
    while position < len(text) and not text[position].isspace():
        if text[position] == "'":
            end = text.find("'", position + 1)
            piece = text[position + 1 : end]
        elif text[position] == '"':
            closing = _closing_quote(text, position + 1, '"', name)
            end = -1 if closing is None else closing
            piece = _SHELL_ESCAPES.sub(r"\1", text[position + 1 : end])
        elif text[position] == "\\":
            end = position + 1 if text[position + 1 : position + 2] not in {"\n", "\r"} else -1
            piece = text[end : end + 1]
        else:
            bare = _BARE.match(text, position)
            end, piece = (bare.end() - 1, bare[0]) if bare else (-1, "")
        if end < 0:
            raise _unreadable(line)
        if end - start > _VALUE_CHARACTERS_MAX:
            raise _too_large(name)
        pieces.append(piece)
        position = end + 1
    return position, "".join(pieces)


def _is_end(text: str, position: int) -> bool:
    """Return whether a statement can end here: before a comment or a line break."""
    position = _skip(_BLANK, text, position)
    return text.startswith("#", position) or _LINE_END.match(text, position) is not None


def _closing_quote(text: str, start: int, quote: str, name: str) -> int | None:
    """Return the position of the closing quote: one after an even number of backslashes."""
    position = start
    while (end := text.find(quote, position)) >= 0:
        if end - start > _VALUE_CHARACTERS_MAX:
            raise _too_large(name)
        before = text[position:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return end
        position = end + 1
    return None


def _line_end(text: str, position: int) -> int:
    """Return where the line ends, before its line break."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    # With this limit, a file without carriage returns is not searched to its end for each line.
    carriage = text.find("\r", position, end)
    return end if carriage < 0 else carriage


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    while match := pattern.match(text, position):
        position = match.end()
    return position


def _lines(text: str, start: int, end: int) -> int:
    """Return the number of line breaks. A carriage return with its line feed is one."""
    feeds, returns = text.count("\n", start, end), text.count("\r", start, end)
    return feeds + returns - text.count("\r\n", start, end)


def _unreadable(line: int) -> Malformed:
    return malformed("file", f"cannot be read at line {line}")


def _too_large(name: str) -> TooLarge:
    rule = f"must not be larger than {VALUE_BYTES_MAX} bytes as JSON"
    return TooLarge.of("value_too_large", [Violation(name, rule)])
