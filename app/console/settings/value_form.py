"""The form of a value, from its JSON Schema. Pure: knows neither requests nor templates.

Reading a form that was not changed gives the same value. A schema or a value for which that does
not hold has no form, with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET

FIELDS_MAX = 200
DEPTH_MAX = 5
_LONG_TEXT = 80
_SCALARS = ("string", "number", "integer", "boolean")
# These say more than one shape, or need a value that no field shows.
_COMBINATORS = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas")
_OBJECT_ONLY = ("patternProperties", "dependentRequired", "dependencies", "propertyNames")
_LIST_ONLY = ("prefixItems", "contains", "additionalItems")
_UNSUPPORTED = (*_COMBINATORS, *_OBJECT_ONLY, *_LIST_ONLY, "$dynamicRef", "unevaluatedProperties")

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


@dataclass(frozen=True)
class NoForm:
    """The reason why a schema or a value has no form, as the end of a sentence."""

    reason: str


class _NoFormError(Exception):
    pass


def build(schema: Mapping[str, Any], value: Any = UNSET) -> ValueField | NoForm:
    """Return the form of a value, or of a new value with the defaults of its schema."""
    try:
        builder = _Builder(schema, has_defaults=value is UNSET)
        field = _field(builder, schema, "value", "value", value)
        if sum(1 for _ in _each(field)) > FIELDS_MAX:
            return NoForm(f"the schema has more than {FIELDS_MAX} fields")
    except _NoFormError as error:
        return NoForm(str(error))
    return field


def _each(field: ValueField) -> Iterator[ValueField]:
    yield field
    for part in field.fields:
        yield from _each(part)


class _Builder:
    """The whole schema, and the depth at which a field stands.

    With `has_defaults` a required field without a value gets the default of its schema.
    """

    def __init__(self, root: Mapping[str, Any], *, has_defaults: bool, depth: int = 0) -> None:
        self.root = root
        self.has_defaults = has_defaults
        self.depth = depth

    def inner(self, *, has_defaults: bool) -> "_Builder":
        if self.depth >= DEPTH_MAX:
            raise _NoFormError(f"the schema nests deeper than {DEPTH_MAX}")
        return _Builder(self.root, has_defaults=has_defaults, depth=self.depth + 1)

    def resolve(self, schema: Any, path: str) -> Mapping[str, Any]:
        """Follow a reference within the schema. The annotations beside it stay."""
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, dict):
                raise _NoFormError(f"the schema of {path} is no object")
            if "$ref" not in schema:
                return schema
            target = self._target(schema["$ref"])
            beside = {name: member for name, member in schema.items() if name != "$ref"}
            schema = {**target, **beside} if isinstance(target, dict) else None
        raise _NoFormError(f"the schema of {path} has a chain of references")

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _NoFormError("the schema refers to itself")
        node: Any = self.root
        for part in reference[2:].split("/"):
            node = node.get(part) if isinstance(node, dict) else None
        return node


def _field(
    builder: _Builder, schema: Any, path: str, name: str, value: Any, *, required: bool = True
) -> ValueField:
    schema = builder.resolve(schema, path)
    if used := [keyword for keyword in _UNSUPPORTED if keyword in schema]:
        raise _NoFormError(f"the schema of {path} uses {used[0]}")
    title, hint = schema.get("title"), schema.get("description")
    common: dict[str, Any] = {
        "path": path,
        "name": name,
        "label": title if isinstance(title, str) and title else name,
        "hint": hint if isinstance(hint, str) else "",
        "is_required": required,
        "is_present": value is not UNSET,
    }
    if value is UNSET and required and builder.has_defaults:
        value = schema.get("default", UNSET)
    if "const" in schema:
        return _constant(schema, common, value)
    if "enum" in schema:
        return _choice(schema["enum"], common, value)
    match schema.get("type"):
        case "object":
            return _group(builder, schema, common, value)
        case "array":
            return _list(builder, schema, common, value)
        case "string" | "number" | "integer" | "boolean" as type_:
            return _scalar(type_, schema, common, value)
        case None if "properties" in schema:
            return _group(builder, schema, common, value)
        case None:
            raise _NoFormError(f"the schema of {path} names no type")
        case _:
            raise _NoFormError(f"the schema of {path} allows several types")


def _constant(schema: Mapping[str, Any], common: dict[str, Any], value: Any) -> ValueField:
    constant = schema["const"]
    is_missing = value is UNSET and not common["is_required"]
    if is_missing or (value is not UNSET and _json(value) != _json(constant)):
        raise _NoFormError(f"{common['path']} is not the constant of its schema")
    return ValueField(**common, kind="constant", constant=constant, text=_json(constant))


def _choice(enum: Any, common: dict[str, Any], value: Any) -> ValueField:
    if not isinstance(enum, list) or any(isinstance(item, dict | list) for item in enum):
        raise _NoFormError(f"{common['path']} is a choice of objects or lists")
    options = tuple((_json(item), item if isinstance(item, str) else _json(item)) for item in enum)
    text = "" if value is UNSET else _json(value)
    if value is not UNSET and text not in dict(options):
        raise _mismatch(common)
    return ValueField(**common, kind="choice", options=options, text=text)


def _scalar(
    type_: str, schema: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    if value is not UNSET and not _is_of(value, type_):
        raise _mismatch(common)
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
        raise _NoFormError(f"{common['path']} is optional and has an empty text")
    is_long = "\n" in text or len(text) > _LONG_TEXT
    return ValueField(**common, kind="long-text" if is_long else "text", text=text)


_BOUNDS = ("minimum", "maximum")


def _list(
    builder: _Builder, schema: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    path = common["path"]
    items = builder.resolve(schema.get("items"), f"the items of {path}")
    item_type = items.get("type")
    if item_type not in _SCALARS or "const" in items or any(name in items for name in _UNSUPPORTED):
        raise _NoFormError(f"the items of {path} are not plain texts, numbers or booleans")
    values = [] if value is UNSET else value
    if not isinstance(values, list) or not all(_is_of(item, item_type) for item in values):
        raise _mismatch(common)
    lines = [item if isinstance(item, str) else _json(item) for item in values]
    for line in lines:
        _check_text(line, common)
        if "\n" in line or line != line.strip() or not line:
            raise _NoFormError(f"{path} has an item that is not one line of text")
    is_unique = schema.get("uniqueItems") is True
    if is_unique and len(set(lines)) < len(lines):
        raise _mismatch(common)
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


def _group(
    builder: _Builder, schema: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    path = common["path"]
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise _NoFormError(f"the schema of {path} names no properties")
    if value is not UNSET and not isinstance(value, dict):
        raise _mismatch(common)
    present = {} if value is UNSET else value
    if unknown := sorted(present.keys() - properties.keys()):
        raise _NoFormError(f"{path} has the member {unknown[0]}, which its schema does not name")
    required = schema.get("required")
    names = set(required) if isinstance(required, list) else set()
    if value is not UNSET and not names <= present.keys():
        raise _mismatch(common)
    # The defaults of an optional group would look as if it had been filled in.
    has_defaults = builder.has_defaults and value is UNSET and common["is_required"]
    inner_builder = builder.inner(has_defaults=has_defaults)
    fields = []
    # PostgreSQL does not retain the order of members.
    for name in sorted(properties, key=lambda name: (name not in names, name)):
        if not name or any(character in name for character in ".[]\n\r"):
            raise _NoFormError(f"a property of {path} has a name with . or [")
        inner = present.get(name, UNSET)
        is_required = name in names
        fields.append(
            _field(
                inner_builder, properties[name], f"{path}.{name}", name, inner, required=is_required
            )
        )
    return ValueField(**common, kind="group", fields=tuple(fields))


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
        raise _NoFormError(f"{common['path']} has a carriage return, which a form would lose")


def _mismatch(common: Mapping[str, Any]) -> _NoFormError:
    return _NoFormError(f"{common['path']} does not match its schema")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
