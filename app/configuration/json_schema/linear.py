"""Schemas whose check takes linear time: no references, patterns, combinators or formats.

Each part of a value is compared with at most one part of such a schema. So the parts of the schema
times the parts of the value are an upper bound of the steps.
"""

from typing import Any

from app.configuration.json_schema.validation import count_parts

_SCHEMA_PARTS_MAX = 1_000
_ANNOTATIONS = {"$comment", "$schema", "default", "deprecated", "description", "examples", "title"}
_ANNOTATIONS |= {"readOnly", "writeOnly"}
_COMPARISONS = {"const", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength"}
_COMPARISONS |= {"maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum"}
_COMPARISONS |= {"required", "type"}


def linear_steps(schema: Any, value: Any) -> int | None:
    """Return an upper bound of the steps of a check (20 ns each), or None if it is not linear."""
    parts = count_parts(schema)
    if parts > _SCHEMA_PARTS_MAX or not _is_linear(schema):
        return None
    # Compiling takes about 100 steps for each part, for any value.
    return parts * (100 + count_parts(value))


def _is_linear(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    for name, node in schema.items():
        if name == "properties":
            if not (isinstance(node, dict) and all(map(_is_linear, node.values()))):
                return False
        elif name in {"additionalProperties", "items"}:
            if not _is_linear(node):
                return False
        elif name not in _ANNOTATIONS and name not in _COMPARISONS:
            return False
    return True
