"""A value without a schema, as a type and a text that people edit."""

from typing import Any

import msgspec

from app.console.json_text import parse_json, pretty
from app.errors import AppError, invalid

# The types that the form offers, in its order.
TYPES = ("text", "number", "boolean", "null", "json")


def type_of(value: Any) -> str:
    """Return the type under which a value is edited.

    A carriage return would be lost in a form, so such a text is edited as JSON.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "json" if "\r" in value else "text"
        case _:
            return "json"


def text_of(value: Any, type_: str) -> str:
    """Return the text of a value of this type."""
    if type_ == "text":
        return str(value)
    if type_ == "null":
        return ""
    return pretty(value)


def read_typed(type_: str, text: str) -> Any:
    """Return the value of a text. Raises Invalid for the field `value`."""
    match type_:
        case "text":
            return text
        case "null":
            return None
        case "boolean":
            if text not in ("true", "false"):
                raise invalid("value", "must be true or false")
            return text == "true"
        case "number":
            return read_number(text, "value")
        case "json":
            return parse_json(text, "value")
        case _:
            raise invalid("type", f"must be one of {', '.join(TYPES)}")


def read_number(text: str, field: str) -> int | float:
    """Return the number of a text. Raises Invalid for the field."""
    text = text.strip().removeprefix("+")
    if text.startswith("."):
        text = f"0{text}"
    try:
        number = parse_json(text, field)
    except AppError as error:
        rule = error.violations[0].rule
        if "2^53" not in rule and "double" not in rule:
            rule = "must be a number, such as 12 or 0.5"
        raise invalid(field, rule) from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise invalid(field, "must be a number, such as 12 or 0.5")
    return number


def converted(text: str, old: str, new: str) -> str:
    """Return the text for another type, with the same value as far as that type has it."""
    try:
        value = read_typed(old, text)
    except AppError:
        return text
    if new == "text":
        return value if isinstance(value, str) else "" if value is None else pretty(value)
    if new == "json":
        return pretty(value)
    if isinstance(value, str):
        # A text such as 12 or true becomes that number or boolean.
        try:
            value = msgspec.json.decode(value.encode())
        except msgspec.DecodeError:
            return "true" if new == "boolean" else ""
    if type_of(value) == new:
        return text_of(value, new)
    return "true" if new == "boolean" else ""
