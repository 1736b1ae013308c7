"""What an entry may hold: sizes, and the JSON Schema that its author may give it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

import jsonschema_rs

from app.changes.models import Content, Kind
from app.errors import Invalid, Violation, invalid
from app.http.decoder import check_value_size

_VIOLATIONS_MAX = 20
# Patterns run in linear time: one that backtracks could hold the event loop for minutes.
_PATTERNS = jsonschema_rs.RegexOptions()


def check_content(content: Content) -> Content:
    """Return the content. Raises Invalid or TooLarge for what cannot be stored."""
    if content.kind is Kind.SECRET:
        raise invalid("kind", "must be setting, flag or segment; secrets are not stored yet")
    check_value_size(content.value, "value")
    check_value_size(content.schema, "schema")
    check_value(content.value, content.schema)
    return content


def check_value(value: Any, schema: dict[str, Any] | None) -> None:
    """Raise Invalid when the schema is none, or the value does not keep to it."""
    if schema is None:
        return
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


def _violations(validator: Any, value: Any) -> Iterator[Violation]:
    for error in validator.iter_errors(value):
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.instance_path)
        yield Violation(f"value{place}", error.message)


def _nothing_from_elsewhere(_: str) -> NoReturn:
    raise ValueError("references to other documents are not followed")
