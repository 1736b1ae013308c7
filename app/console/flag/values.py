"""Typed values as texts of the form: constants of conditions, values of variants, metadata."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from app.console import json_text
from app.errors import Invalid
from app.names import counted

# Labels of the types that a person can choose.
VALUE_TYPES = {
    "text": "text",
    "number": "number",
    "boolean": "yes/no",
    "texts": "texts",
    "numbers": "numbers",
    "json": "JSON",
}
# Inputs of browsers change these characters.
_UNSAFE = re.compile("[\x00-\x1f\x7f]")


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def decode(text: str) -> Any:
    """Return the value of a JSON text, None if it is not JSON."""
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def value_text(value: Any, types: Sequence[str]) -> tuple[str, str]:
    """Return the type of a value and its text. A value of none of the types is JSON."""
    match value:
        case bool():
            result = "boolean", encode(value)
        case int() | float():
            result = "number", encode(value)
        case str() if not _UNSAFE.search(value):
            result = "text", value
        case list() if all(isinstance(item, str) and _is_line(item) for item in value):
            result = "texts", "\n".join(value)
        case list() if all(map(is_number, value)):
            result = "numbers", "\n".join(map(encode, value))
        case _:
            return "json", encode(value)
    return result if result[0] in types else ("json", encode(value))


def parse_value(type_: str, text: str) -> Any:
    """Return the value of a text. Raises ValueError with the broken rule."""
    return _PARSERS.get(type_, _json)(text)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError with line and column."""
    try:
        return json_text.parse_json(text, "json")
    except Invalid as error:
        raise ValueError(error.violations[0].rule) from None


def _json(text: str) -> Any:
    return parse_json(text)


def _number(text: str) -> Any:
    try:
        value = msgspec.json.decode(text.strip().encode(errors="replace"))
    except msgspec.DecodeError:
        value = None
    if not is_number(value):
        raise ValueError("must be a number, such as 25 or 0.5")
    return value


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _text(text: str) -> str:
    return text


def _texts(text: str) -> list[str]:
    """Return the lines that are not empty, each once."""
    return list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))


def split_values(text: str, existing: Any) -> str:
    """Return the values with one on each line: also commas separate them.

    A value of `existing`, a list or one value, retains its commas.
    """
    known = existing if isinstance(existing, list) else [existing]
    lines: list[str] = []
    for line in text.split("\n"):
        is_split = "," in line and line.strip() not in known
        lines += [part.strip() for part in line.split(",") if part.strip()] if is_split else [line]
    return "\n".join(lines)


def _numbers(text: str) -> list[Any]:
    return [_number(line) for line in _texts(text)]


def list_count(text: str) -> str:
    """Return the number of values in a list with one on each line, and of its duplicates."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    duplicates = len(lines) - len(set(lines))
    removed = f", {counted(duplicates, 'duplicate')} left out" if duplicates else ""
    return counted(len(set(lines)), "value") + removed


def _is_line(item: str) -> bool:
    return item.strip() == item != "" and not _UNSAFE.search(item)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "texts": _texts,
    "numbers": _numbers,
}
