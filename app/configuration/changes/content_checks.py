"""Check the contents of a write: size, JSON Schema and flagd's format.

Small contents are checked on the event loop, others in a thread.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Content, Kind
from app.configuration.json_schema.pool import PROCESSES_MAX, Checkers, RequestCheck, linear_steps
from app.configuration.json_schema.process import TooCostlyError
from app.configuration.json_schema.validation import count_parts
from app.errors import Invalid, Violation, invalid
from app.evaluation.validation import check_flag, check_segment
from app.http.decoder import check_value_size
from app.threads import ThreadLimiter, in_thread

Result = TypeVar("Result")

# At most about 3 ms on the event loop.
_QUICK_PARTS_MAX = 1_000
_QUICK_STEPS_MAX = 50_000
WAIT_SECONDS = 1.0
SCHEMA_TOO_COSTLY = "schema_too_costly"
_EXAMPLES = ("const", "default", "enum", "examples")
# A shorter text may be in a description by chance.
_TELLING_CHARACTERS = 8
_DEFINITIONS: dict[Kind, Callable[[Any], list[Violation]]] = {
    Kind.FLAG: check_flag,
    Kind.SEGMENT: check_segment,
}


class ContentChecks:
    """Run the checks of requests in a few threads, each with at most one checker process."""

    def __init__(self) -> None:
        self.checkers = Checkers()
        # One thread per process, so that a check that waits for its process delays no other.
        self._limiter = ThreadLimiter(WAIT_SECONDS, slots=PROCESSES_MAX)

    async def run(
        self, contents: Iterable[Content], work: Callable[[RequestCheck], Result]
    ) -> Result:
        """Return the result of the work, which checks these contents. Also raises Unavailable."""

        def checked() -> Result:
            with self.checkers.request() as check:
                return work(check)

        return checked() if are_quick(contents) else await self._limiter.run("check", checked)

    async def close(self) -> None:
        """Stop the checker processes. A running check fails."""
        await in_thread("checkers-end", self.checkers.close)


def are_quick(contents: Iterable[Content]) -> bool:
    parts = steps = 0
    for content in contents:
        parts += count_parts(content.value) + count_parts(content.schema)
        if parts > _QUICK_PARTS_MAX:
            return False
        if content.schema is not None:
            schema_steps = linear_steps(content.schema, content.value)
            if schema_steps is None:
                return False
            steps += schema_steps
    return steps <= _QUICK_STEPS_MAX


def check_content(
    content: Content, check: RequestCheck, *, lenient: bool = False
) -> list[Violation]:
    """Raise Invalid, TooLarge or Unavailable for content that cannot be stored.

    For a lenient caller, return format errors of a flag or segment instead, because flagd accepts
    them. A flag or segment that is not an object is always refused.
    """
    check_value_size(content.value, "value")
    check_value_size(content.schema, "schema")
    if content.kind is Kind.SECRET:
        _check_secret(content, check)
        return []
    check_value(content.value, content.schema, check)
    return _check_definition(content, lenient=lenient)


def find_format_error(content: Content, check: RequestCheck) -> Invalid | None:
    """Return the error for a flag or segment in a wrong format. Raise all other errors.

    The caller refuses the format only if the same value is not stored already.
    """
    violations = check_content(content, check, lenient=True)
    return Invalid.of(f"{content.kind}_invalid", violations) if violations else None


def _check_secret(content: Content, check: RequestCheck) -> None:
    if content.value is None:
        # A client may write a masked entry back with a new description.
        raise invalid("value", "must not be null for a secret, because a masked secret is null")
    try:
        check_value(content.value, content.schema, check)
    except Invalid as error:
        if error.code != "value_against_schema":
            raise
        # The field and the text of the violation may contain members of the value.
        violation = Violation("value", "must match its schema")
        raise Invalid.of(error.code, [violation]) from None
    # The schema and the description are stored, listed and exported in clear.
    if any(are_equal(example, content.value) for example in _examples(content.schema)):
        raise invalid("schema", f"must not contain the secret's value in {', '.join(_EXAMPLES)}")
    text = content.value if isinstance(content.value, str) else ""
    if len(text) >= _TELLING_CHARACTERS and text in (content.description or ""):
        raise invalid("description", "must not contain the secret's value")


def _examples(schema: Any) -> Iterator[Any]:
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
        Violation(f"value.{error.field}" if error.field else "value", error.rule)
        for error in _DEFINITIONS[content.kind](content.value)
    ]
    if violations and not (lenient and isinstance(content.value, dict)):
        raise Invalid.of(f"{content.kind}_invalid", violations)
    return violations


def check_value(value: Any, schema: dict[str, Any] | None, check: RequestCheck) -> None:
    """Raise Invalid when the schema is unusable or the value does not match it."""
    if schema is None:
        return
    try:
        verdict = check.verdict(schema, value)
    except TooCostlyError:
        violation = Violation("schema", "takes too much time or memory to check with this value")
        raise Invalid.of(SCHEMA_TOO_COSTLY, [violation]) from None
    if verdict.refused is not None:
        raise invalid(*verdict.refused)
    if verdict.broken:
        raise Invalid.of("value_against_schema", [Violation(*rule) for rule in verdict.broken])
