"""The fields of single values and of lists, from their schemas. `value_form` joins them.

`common` has the members of a field that do not depend on its kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET

_LONG_TEXT = 80
_BOUNDS = ("minimum", "maximum")
_SCALARS = ("string", "number", "integer", "boolean")
# These say more than one shape, or need a value that no field shows.
_COMBINATORS = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas")
_OBJECT_ONLY = ("patternProperties", "dependentRequired", "dependencies", "propertyNames")
_LIST_ONLY = ("prefixItems", "contains", "additionalItems")
UNSUPPORTED = (*_COMBINATORS, *_OBJECT_ONLY, *_LIST_ONLY, "$dynamicRef", "unevaluatedProperties")

FieldKind = Literal[
    "text", "long-text", "number", "integer", "check", "choice", "list", "constant", "group"
]


@dataclass(frozen=True, kw_only=True)
class ValueField:
    """A field of the form. `path` is its name in the form and in errors, such as `value.limit`.

    `text` is what an input shows. `options` are JSON texts with their labels. `item_type` is the
    type of the items of a list, one on each line. `is_present` says that the value has it now.
    """

    path: str
    name: str
    kind: FieldKind
    label: str = ""
    hint: str = ""
    is_required: bool = True
    is_present: bool = True
    text: str = ""
    options: tuple[tuple[str, str], ...] = ()
    minimum: str = ""
    maximum: str = ""
    item_type: str = ""
    is_unique: bool = False
    constant: Any = None
    fields: tuple["ValueField", ...] = ()


class NoFormError(Exception):
    """A schema or a value has no form. The text is the reason, as the end of a sentence."""


def constant_field(schema: Mapping[str, Any], common: dict[str, Any], value: Any) -> ValueField:
    constant = schema["const"]
    is_missing = value is UNSET and not common["is_required"]
    if is_missing or (value is not UNSET and _json(value) != _json(constant)):
        raise NoFormError(f"{common['path']} is not the constant of its schema")
    return ValueField(**common, kind="constant", constant=constant, text=_json(constant))


def choice_field(enum: Any, common: dict[str, Any], value: Any) -> ValueField:
    if not isinstance(enum, list) or any(isinstance(item, dict | list) for item in enum):
        raise NoFormError(f"{common['path']} is a choice of objects or lists")
    options = tuple((_json(item), item if isinstance(item, str) else _json(item)) for item in enum)
    text = "" if value is UNSET else _json(value)
    if value is not UNSET and text not in dict(options):
        raise mismatch(common)
    return ValueField(**common, kind="choice", options=options, text=text)


def scalar_field(
    type_: str, schema: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    if value is not UNSET and not _is_of(value, type_):
        raise mismatch(common)
    if type_ == "boolean":
        text = "" if value is UNSET else _json(value)
        if common["is_required"]:
            return ValueField(**common, kind="check", text=text)
        options = (("true", "true"), ("false", "false"))
        return ValueField(**common, kind="choice", options=options, text=text)
    if type_ in ("number", "integer"):
        minimum, maximum = (_json(schema[key]) if key in schema else "" for key in _BOUNDS)
        text = "" if value is UNSET else _json(value)
        kind: FieldKind = "integer" if type_ == "integer" else "number"
        return ValueField(**common, kind=kind, text=text, minimum=minimum, maximum=maximum)
    text = "" if value is UNSET else value
    _check_text(text, common)
    if value == "" and not common["is_required"]:
        raise NoFormError(f"{common['path']} is optional and has an empty text")
    is_long = "\n" in text or len(text) > _LONG_TEXT
    return ValueField(**common, kind="long-text" if is_long else "text", text=text)


def list_field(
    schema: Mapping[str, Any], items: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    """Return the field of a list. `items` is the schema of its items."""
    path = common["path"]
    item_type = items.get("type")
    if item_type not in _SCALARS or "const" in items or any(name in items for name in UNSUPPORTED):
        raise NoFormError(f"the items of {path} are not plain texts, numbers or booleans")
    values = [] if value is UNSET else value
    if not isinstance(values, list) or not all(_is_of(item, item_type) for item in values):
        raise mismatch(common)
    lines = [item if isinstance(item, str) else _json(item) for item in values]
    for line in lines:
        _check_text(line, common)
        if "\n" in line or line != line.strip() or not line:
            raise NoFormError(f"{path} has an item that is not one line of text")
    is_unique = schema.get("uniqueItems") is True
    if is_unique and len(set(lines)) < len(lines):
        raise mismatch(common)
    allowed = items.get("enum")
    options = (
        tuple((_json(item), str(item)) for item in allowed) if isinstance(allowed, list) else ()
    )
    return ValueField(
        **common,
        kind="list",
        item_type=item_type,
        text="\n".join(lines),
        is_unique=is_unique,
        options=options,
    )


def _is_of(value: Any, type_: str) -> bool:
    if isinstance(value, bool):
        return type_ == "boolean"
    if isinstance(value, str):
        return type_ == "string"
    if isinstance(value, int):
        return type_ in ("number", "integer")
    is_whole = isinstance(value, float) and value.is_integer()
    return isinstance(value, float) and (type_ == "number" or (type_ == "integer" and is_whole))


def _check_text(text: str, common: Mapping[str, Any]) -> None:
    if "\r" in text:
        raise NoFormError(f"{common['path']} has a carriage return, which a form would lose")


def mismatch(common: Mapping[str, Any]) -> NoFormError:
    return NoFormError(f"{common['path']} does not match its schema")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
