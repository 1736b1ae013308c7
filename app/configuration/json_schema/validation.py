"""Check a value against its JSON Schema, without limits of time or memory.

The service and its checker processes run this module. It imports no other module of the service, so
that a checker process is small and starts quickly.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote

import jsonschema_rs
import msgspec

VIOLATIONS_MAX = 20
# The library computes all errors before it returns the first. Above this number of schema parts
# times value parts, only the first error is requested.
_STEPS_FOR_ALL_ERRORS = 2_000
# The text of an error can repeat a part of the schema, for each part of the value.
_BYTES_OF_ALL_ERRORS = 256 * 1024
# A rule can list a whole enum.
_TEXT_MAX = 300
_PATTERN_BYTES_MAX = 1024 * 1024
# This engine runs in linear time. A backtracking engine can take minutes for one pattern.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES_MAX)
_PATTERN_RULE = (
    "must be a regular expression without look-around and back-references, "
    f"and at most {_PATTERN_BYTES_MAX // 1024} KiB when compiled"
)
_REFERENCE_RULE = "must refer to a part of this schema: # or #/…"
# Keywords that change the part of the schema that a reference points to.
_BASE_KEYWORDS = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")
# Keywords whose members are values, not schemas.
_VALUE_KEYWORDS = {"const", "default", "enum", "examples", "required", "dependentRequired"}
# Keywords whose members are schemas under any name.
_SCHEMA_MAPS = {"$defs", "definitions", "dependencies", "dependentSchemas"}
_SCHEMA_MAPS |= {"patternProperties", "properties"}
# Keywords whose schemas apply to the same value: a circle of references would never end.
_SAME_VALUE_KEYWORDS = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")

Path = tuple[str | int, ...]
Finding = tuple[str, str]


class CheckResult(msgspec.Struct, frozen=True, array_like=True):
    """The first unsupported part of the schema (`refused`), and the rules that the value breaks.

    Each is a field and a rule. No rule repeats the value, which can be confidential.
    """

    refused: Finding | None = None
    broken: list[Finding] = []


def check(schema: Any, value: Any) -> CheckResult:
    """Check the schema, then the value. Return at most `VIOLATIONS_MAX` broken rules."""
    refused = _refused_part(schema)
    if refused is not None:
        return CheckResult(refused=_finding("schema", *refused))
    try:
        validator = jsonschema_rs.validator_for(
            schema, mask="the value", retriever=_refuse, pattern_options=_PATTERNS
        )
    except jsonschema_rs.ValidationError as error:
        is_pattern = getattr(error.kind, "format", None) == "regex"
        rule = _PATTERN_RULE if is_pattern else "must be a valid JSON Schema"
        return CheckResult(refused=_finding("schema", tuple(error.instance_path), rule))
    except ValueError:
        return CheckResult(refused=("schema", "must be a valid JSON Schema"))
    if validator.is_valid(value):
        return CheckResult()
    errors = islice(_errors(validator, schema, value), VIOLATIONS_MAX)
    return CheckResult(
        broken=[_finding("value", tuple(error.instance_path), error.message) for error in errors]
    )


def _errors(validator: Any, schema: Any, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
    parts = count_parts(value)
    if (
        count_parts(schema) * parts <= _STEPS_FOR_ALL_ERRORS
        and len(msgspec.json.encode(schema)) * parts <= _BYTES_OF_ALL_ERRORS
    ):
        yield from validator.iter_errors(value)
        return
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        yield error


def count_parts(value: Any) -> int:
    """Return the number of values in a JSON value. Names of members do not count."""
    count, waiting = 1, [value]
    while waiting:
        node = waiting.pop()
        parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        count += len(parts)
        waiting += [part for part in parts if type(part) in (dict, list)]
    return count


def _refused_part(schema: Any) -> tuple[Path, str] | None:
    """Return the path of a keyword that is not supported, and the rule."""
    for path, node in _schemas(schema, ()):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
            return (*path, "$ref"), _REFERENCE_RULE
        for name in (*_BASE_KEYWORDS, _id_keyword(schema)):
            if name in node and (path or name in _BASE_KEYWORDS):
                where = "" if name in _BASE_KEYWORDS else " below the top of the schema"
                return (*path, name), f"is not supported{where}; use a reference such as #/…"
    circular = _circular_reference(schema)
    if circular is not None:
        return circular, "must not lead back to itself for the same value"
    return None


def _id_keyword(schema: dict[str, Any]) -> str:
    """Return the keyword that changes the base of references in a part of the schema."""
    return "id" if "draft-04" in str(schema.get("$schema")) else "$id"


def _schemas(node: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each schema in a schema, and its path. Unknown keywords are searched too."""
    if isinstance(node, list):
        for position, child in enumerate(node):
            yield from _schemas(child, (*path, position))
    elif isinstance(node, dict):
        yield path, node
        for name, child in node.items():
            if name in _VALUE_KEYWORDS:
                continue
            if name in _SCHEMA_MAPS and isinstance(child, dict):
                for member, schema in child.items():
                    yield from _schemas(schema, (*path, name, member))
            else:
                yield from _schemas(child, (*path, name))


def _circular_reference(schema: Any) -> Path | None:
    """Return the path of a reference that leads back to itself for the same value.

    A reference below `items` or `properties` may lead back, as in the schema of a tree.
    """
    paths: dict[str, Path] = {}
    for path, node in _schemas(schema, ()):
        if isinstance(node.get("$ref"), str):
            paths.setdefault(node["$ref"], (*path, "$ref"))
    graph = {reference: _references_in_place(_target(schema, reference)) for reference in paths}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return paths[error.args[1][0]]
    return None


def _references_in_place(node: Any) -> set[str]:
    """Return the references of a schema that apply to the value itself, not to a part of it."""
    references: set[str] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                references.add(node["$ref"])
            waiting += [node.get(name) for name in _SAME_VALUE_KEYWORDS]
            dependent = node.get("dependentSchemas")
            waiting += dependent.values() if isinstance(dependent, dict) else ()
    return references


def _target(schema: Any, reference: str) -> Any:
    """Return the part of the schema at a JSON Pointer (RFC 6901), or None."""
    node = schema
    for token in unquote(reference).split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(name)] if isinstance(node, list) else node[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return node


def _finding(root: str, path: Path, rule: str) -> Finding:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{root}{field}"[:_TEXT_MAX], rule[:_TEXT_MAX]


def _refuse(_: str) -> NoReturn:
    raise ValueError("references to other documents are not supported")
