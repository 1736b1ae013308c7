"""Read the value of a posted form. The opposite of `value_form`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from app.console.forms import Form
from app.console.settings.typed_value import read_number
from app.console.settings.value_fields import ValueField
from app.errors import AppError, Violation

# The marker of a group or a list that the value had when the form was drawn.
PRESENT = "present"


def read_value(field: ValueField, form: Form) -> tuple[Any, list[Violation]]:
    """Return the value, and the violations of texts that cannot be read."""
    violations: list[Violation] = []
    value = _read(field, form, violations)
    return (None if value is UNSET else value), violations


def unique_lines(text: str) -> tuple[list[str], int]:
    """Return the lines that are not empty, each once, and the number of duplicates."""
    lines = list(_lines(text))
    return list(dict.fromkeys(lines)), len(lines) - len(set(lines))


def _read(  # noqa: PLR0911 - one for each kind of field
    field: ValueField, form: Form, violations: list[Violation]
) -> Any:
    text = form.get(field.path, "")
    match field.kind:
        case "constant":
            return field.constant
        case "group":
            return _group(field, form, violations)
        case "list":
            return _list(field, form, violations)
        case "check":
            return bool(text)
        case "text" | "long-text":
            return text if text or field.is_required else UNSET
        case "choice":
            return _choice(field, text, violations)
        case "number" | "integer":
            if not text.strip() and not field.is_required:
                return UNSET
            return _number(field.path, text, violations)


def _group(field: ValueField, form: Form, violations: list[Violation]) -> Any:
    was_present = form.get(field.path) == PRESENT
    if not (field.is_required or was_present or _is_filled(field, form)):
        return UNSET
    values = {part.name: _read(part, form, violations) for part in field.fields}
    return {name: value for name, value in values.items() if value is not UNSET}


def _is_filled(field: ValueField, form: Form) -> bool:
    """Return whether a person has filled in a part of a group."""
    for part in field.fields:
        if part.kind == "group":
            if _is_filled(part, form):
                return True
        elif form.get(part.path, "").strip():
            return True
    return False


def _list(field: ValueField, form: Form, violations: list[Violation]) -> Any:
    text = form.get(field.path, "")
    lines = unique_lines(text)[0] if field.is_unique else list(_lines(text))
    if not lines and not field.is_required and form.get(f"{field.path}[]") != PRESENT:
        return UNSET
    if field.item_type == "string":
        return lines
    return [
        _item(f"{field.path}[{position}]", line, field.item_type, violations)
        for position, line in enumerate(lines)
    ]


def _item(path: str, line: str, item_type: str, violations: list[Violation]) -> Any:
    if item_type != "boolean":
        return _number(path, line, violations)
    if line not in ("true", "false"):
        violations.append(Violation(path, "must be true or false"))
    return line == "true"


def _choice(field: ValueField, text: str, violations: list[Violation]) -> Any:
    if not text and not field.is_required:
        return UNSET
    if text not in dict(field.options):
        violations.append(Violation(field.path, "must be one of the options"))
        return None
    return msgspec.json.decode(text.encode())


def _number(path: str, text: str, violations: list[Violation]) -> Any:
    try:
        return read_number(text, path)
    except AppError as error:
        violations += error.violations
        return None


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.split("\n") if line.strip())


def filled(field: ValueField, form: Form) -> ValueField:
    """Return the field with the texts that were posted, also those that cannot be read."""
    if field.kind == "group":
        parts = tuple(filled(part, form) for part in field.fields)
        return replace(field, fields=parts, is_present=form.get(field.path) == PRESENT)
    if field.kind == "constant":
        return field
    text = form.get(field.path, "")
    if field.kind == "check":
        text = "true" if text else "false"
    is_present = form.get(f"{field.path}[]") == PRESENT if field.kind == "list" else True
    return replace(field, text=text, is_present=is_present)
