"""What an entry may hold: sizes, the JSON Schema that its author may give it, flagd's format."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from app.changes.models import Content, Kind
from app.changes.patch import are_equal
from app.errors import Invalid, Violation, invalid
from app.evaluation.validation import check_flag, check_segment
from app.http.decoder import check_value_size

_VIOLATIONS_MAX = 20
# Steps of a check, roughly: parts of the schema, each reference followed, times parts of the value.
# The event loop waits for it, and this many take about a tenth of a second.
COST_MAX = 2_000_000
# Patterns run in linear time: one that backtracks could hold the event loop for minutes.
_PATTERNS = jsonschema_rs.RegexOptions()
# These let a reference mean something else than its own text says.
_MOVING = {"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
_REFERENCES_DEEP_MAX = 50
_EXAMPLES = ("const", "default", "enum", "examples")
# A shorter text may well be in a description by chance.
_TELLING_CHARACTERS = 8
# The larger number of {n}, {n,} and {n,m}.
_REPETITION = re.compile(r"\{(?:[0-9]*,)?([0-9]+),?\}")
_DEFINITIONS: dict[Kind, Callable[[Any], list[Violation]]] = {
    Kind.FLAG: check_flag,
    Kind.SEGMENT: check_segment,
}


def check_content(content: Content, *, lenient: bool = False) -> list[Violation]:
    """Raise Invalid or TooLarge for what cannot be stored.

    What a flag or segment breaks of its format is let pass for a lenient caller, as flagd does
    itself, and returned; unless it is not even an object.
    """
    check_value_size(content.value, "value")
    check_value_size(content.schema, "schema")
    if content.kind is Kind.SECRET:
        _check_secret(content)
        return []
    check_value(content.value, content.schema)
    return _check_definition(content, lenient=lenient)


def _check_secret(content: Content) -> None:
    if content.value is None:
        # Whoever reads a masked entry, edits its description and writes it back means no null.
        raise invalid("value", "must not be null in a secret: that is how a masked one reads")
    try:
        check_value(content.value, content.schema)
    except Invalid as error:
        if error.code != "value_against_schema":
            raise
        # The place of a violation and its text may name members of the value.
        rule = "must keep to its schema"
        raise Invalid(error.code, f"value: {rule}", [Violation("value", rule)]) from None
    # Both are kept, listed and exported in clear.
    if any(are_equal(each, content.value) for each in _examples(content.schema)):
        raise invalid("schema", f"must not have the secret's value in {', '.join(_EXAMPLES)}")
    text = content.value if isinstance(content.value, str) else ""
    if len(text) >= _TELLING_CHARACTERS and text in (content.description or ""):
        raise invalid("description", "must not have the secret's value in it")


def _examples(schema: Any) -> Iterator[Any]:
    """Yield each value that a schema holds, not what it says of them."""
    if isinstance(schema, dict):
        for name, node in schema.items():
            if name in _EXAMPLES:
                yield node
                yield from node if isinstance(node, list) else ()
            yield from _examples(node)
    elif isinstance(schema, list):
        for node in schema:
            yield from _examples(node)


def _check_definition(content: Content, *, lenient: bool) -> list[Violation]:
    if content.kind not in _DEFINITIONS:
        return []
    violations = [
        Violation(f"value.{found.field}" if found.field else "value", found.rule)
        for found in _DEFINITIONS[content.kind](content.value)
    ]
    if violations and not (lenient and isinstance(content.value, dict)):
        first = violations[0]
        raise Invalid(f"{content.kind}_invalid", f"{first.field}: {first.rule}", violations)
    return violations


def check_value(value: Any, schema: dict[str, Any] | None) -> None:
    """Raise Invalid when the schema is none, or the value does not keep to it."""
    if schema is None:
        return
    if cost_of(value, schema) > COST_MAX:
        raise invalid("schema", "takes too long to check with this value; make either smaller")
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            # What is checked may be confidential, so no message may quote it.
            mask="the value",
            retriever=_nothing_from_elsewhere,
            pattern_options=_PATTERNS,
        )
    except (jsonschema_rs.ValidationError, ValueError):
        raise invalid("schema", "must be a JSON Schema that refers to nothing outside") from None
    violations = list(islice(_violations(validator, value), _VIOLATIONS_MAX))
    if violations:
        first = violations[0]
        raise Invalid("value_against_schema", f"{first.field}: {first.rule}", violations)


def cost_of(value: Any, schema: dict[str, Any] | None) -> int:
    """Return about how many steps it takes to check a value. Raises Invalid for some schemas."""
    if schema is None:
        return 0
    size = len(msgspec.json.encode(value))
    return expanded_size(schema) * (size // 64 + _count(value)) + patterns_size(schema) * size // 5


def patterns_size(schema: Any) -> int:
    """Return how large the automata of a schema's patterns are, roughly: their time for each byte.

    Linear time is long when `{1,100}` within `{1,90}` stands for nine thousand copies.
    """
    if isinstance(schema, list):
        return sum(map(patterns_size, schema))
    if not isinstance(schema, dict):
        return 0
    found = [*schema.get("patternProperties", ()), schema.get("pattern")]
    own = sum(_pattern_size(pattern) for pattern in found if isinstance(pattern, str))
    return own + sum(map(patterns_size, schema.values()))


def _pattern_size(pattern: str) -> int:
    """Return a bound: every repetition multiplies all of the pattern."""
    size = len(pattern)
    for most in _REPETITION.findall(pattern):
        size *= min(int(most[-6:]), 10**6) or 1
        if size > COST_MAX:
            break
    return size


def expanded_size(schema: dict[str, Any]) -> int:
    """Return how many parts a schema has when each reference is written out.

    A chain in which every level refers twice to the one before doubles the work at each: thirty
    short lines can take an hour. Raises Invalid for references in a circle or to elsewhere.
    """
    return _expanded(schema, schema, {}, set())


def _expanded(node: Any, root: Any, known: dict[str, int], open_references: set[str]) -> int:
    if isinstance(node, list):
        return 1 + sum(_expanded(child, root, known, open_references) for child in node)
    if not isinstance(node, dict):
        return 1
    if _MOVING.intersection(node):
        raise invalid("schema", f"must not use {', '.join(sorted(_MOVING))}")
    size = 1 + sum(_expanded(child, root, known, open_references) for child in node.values())
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference not in known:
            if reference in open_references or len(open_references) > _REFERENCES_DEEP_MAX:
                raise invalid("schema", "must not refer to itself, nor through too many others")
            target = _resolved(reference, root)
            inner = open_references | {reference}
            known[reference] = _expanded(target, root, known, inner)
        size += known[reference]
    return size


def _resolved(reference: str, root: Any) -> Any:
    """Follow a JSON Pointer (RFC 6901) within the document."""
    node = root
    for token in unquote(reference.removeprefix("#")).split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(name)] if isinstance(node, list) else node[name]
        except (KeyError, IndexError, ValueError, TypeError):
            node = None
            break
    if not reference.startswith("#") or node is None:
        raise invalid("schema", "must be a JSON Schema that refers to nothing outside")
    return node


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(_count, value))
    return 1


def _violations(validator: Any, value: Any) -> Iterator[Violation]:
    for error in validator.iter_errors(value):
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.instance_path)
        yield Violation(f"value{place}", error.message)


def _nothing_from_elsewhere(_: str) -> NoReturn:
    raise ValueError("references to other documents are not followed")
