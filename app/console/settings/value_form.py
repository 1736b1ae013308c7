"""The form of a value, from its JSON Schema. Pure: knows neither requests nor templates.

Reading a form that was not changed gives the same value. A schema or a value for which that does
not hold has no form, with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from app.console.settings.value_fields import (
    UNSUPPORTED,
    NoFormError,
    ValueField,
    choice_field,
    constant_field,
    list_field,
    mismatch,
    scalar_field,
)

FIELDS_MAX = 200
DEPTH_MAX = 5


@dataclass(frozen=True)
class NoForm:
    """The reason why a schema or a value has no form, as the end of a sentence."""

    reason: str


def build(schema: Mapping[str, Any], value: Any = UNSET) -> ValueField | NoForm:
    """Return the form of a value, or of a new value with the defaults of its schema."""
    try:
        builder = _Builder(schema, has_defaults=value is UNSET)
        field = _field(builder, schema, "value", "value", value)
        if sum(1 for _ in _each(field)) > FIELDS_MAX:
            return NoForm(f"the schema has more than {FIELDS_MAX} fields")
    except NoFormError as error:
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
            raise NoFormError(f"the schema nests deeper than {DEPTH_MAX}")
        return _Builder(self.root, has_defaults=has_defaults, depth=self.depth + 1)

    def resolve(self, schema: Any, path: str) -> Mapping[str, Any]:
        """Follow a reference within the schema. The annotations beside it stay."""
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, dict):
                raise NoFormError(f"the schema of {path} is no object")
            if "$ref" not in schema:
                return schema
            target = self._target(schema["$ref"])
            beside = {name: member for name, member in schema.items() if name != "$ref"}
            schema = {**target, **beside} if isinstance(target, dict) else None
        raise NoFormError(f"the schema of {path} has a chain of references")

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise NoFormError("the schema refers to itself")
        node: Any = self.root
        for part in reference[2:].split("/"):
            node = node.get(part) if isinstance(node, dict) else None
        return node


def _field(
    builder: _Builder, schema: Any, path: str, name: str, value: Any, *, required: bool = True
) -> ValueField:
    schema = builder.resolve(schema, path)
    if used := [keyword for keyword in UNSUPPORTED if keyword in schema]:
        raise NoFormError(f"the schema of {path} uses {used[0]}")
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
        return constant_field(schema, common, value)
    if "enum" in schema:
        return choice_field(schema["enum"], common, value)
    match schema.get("type"):
        case "object":
            return _group(builder, schema, common, value)
        case "array":
            items = builder.resolve(schema.get("items"), f"the items of {path}")
            return list_field(schema, items, common, value)
        case "string" | "number" | "integer" | "boolean" as type_:
            return scalar_field(type_, schema, common, value)
        case None if "properties" in schema:
            return _group(builder, schema, common, value)
        case None:
            raise NoFormError(f"the schema of {path} names no type")
        case _:
            raise NoFormError(f"the schema of {path} allows several types")


def _group(
    builder: _Builder, schema: Mapping[str, Any], common: dict[str, Any], value: Any
) -> ValueField:
    path = common["path"]
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise NoFormError(f"the schema of {path} names no properties")
    if value is not UNSET and not isinstance(value, dict):
        raise mismatch(common)
    present = {} if value is UNSET else value
    if unknown := sorted(present.keys() - properties.keys()):
        raise NoFormError(f"{path} has the member {unknown[0]}, which its schema does not name")
    required = schema.get("required")
    names = set(required) if isinstance(required, list) else set()
    if value is not UNSET and not names <= present.keys():
        raise mismatch(common)
    # The defaults of an optional group would look as if it had been filled in.
    has_defaults = builder.has_defaults and value is UNSET and common["is_required"]
    inner_builder = builder.inner(has_defaults=has_defaults)
    fields = []
    # PostgreSQL does not retain the order of members.
    for name in sorted(properties, key=lambda name: (name not in names, name)):
        if not name or any(character in name for character in ".[]\n\r"):
            raise NoFormError(f"a property of {path} has a name with . or [")
        inner = present.get(name, UNSET)
        is_required = name in names
        fields.append(
            _field(
                inner_builder, properties[name], f"{path}.{name}", name, inner, required=is_required
            )
        )
    return ValueField(**common, kind="group", fields=tuple(fields))
