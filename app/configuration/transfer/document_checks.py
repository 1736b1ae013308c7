"""Documents whose contents were checked as far as they can be without looking at what is there.

That is done before anything is locked, as ten thousand values under large schemas take their time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.configuration.changes.content_rules import SCHEMA_TOO_COSTLY, check_content
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.properties import check_size, wrong_members
from app.configuration.json_schema.pool import Checkers, RequestCheck
from app.configuration.transfer.document_reader import read_document, read_file
from app.configuration.transfer.documents import NODES_MAX, Document, Format
from app.configuration.transfer.secret_names import with_secrets
from app.errors import Invalid, Violation
from app.evaluation.advice import flag_advice, rule_advice

VIOLATIONS_MAX = 100


def read_checked(
    raw: bytes,
    format_: Format,
    checkers: Checkers,
    *,
    nodes_max: int = NODES_MAX,
    lenient: bool = False,
    secrets: Sequence[str] = (),
) -> Document:
    """Return the document. Raises Malformed, Invalid or TooLarge that name each key and rule.

    `secrets` are patterns for the names of secrets in a file that names no kinds. What flags and
    segments break of their format is a warning to a lenient caller, as it is to flagd; they fail
    alone, when they are evaluated.
    """
    document = read_document(raw, format_, nodes_max=nodes_max, lenient=lenient)
    return _checked(with_secrets(document, secrets), checkers, lenient=lenient)


def read_checked_file(
    path: Path,
    format_: Format | None,
    checkers: Checkers,
    *,
    lenient: bool = False,
    secrets: Sequence[str] = (),
) -> Document:
    """Return the document of a file, in the format that its name says if none is given."""
    document = read_file(path, format_, lenient=lenient)
    return _checked(with_secrets(document, secrets), checkers, lenient=lenient)


def check_contents(
    contents: Iterable[tuple[str, Content]], check: RequestCheck, *, lenient: bool = False
) -> list[Violation]:
    """Return what a lenient caller lets pass. Raises Invalid that names at least the first 100
    rules that are broken; TooLarge for the first entry that is.
    """
    passed, refused = find_broken(contents, check, lenient=lenient)
    if refused:
        raise _entries_invalid(refused)
    return passed


def find_broken(
    contents: Iterable[tuple[str, Content]], check: RequestCheck, *, lenient: bool
) -> tuple[list[Violation], list[Violation]]:
    """Return what a lenient caller lets pass, and what is refused. Raises as `check_contents`."""
    passed: list[Violation] = []
    refused: list[Violation] = []
    for key, content in contents:
        try:
            passed += _of_key(key, check_content(content, check, lenient=lenient))
        except Invalid as error:
            if error.code == SCHEMA_TOO_COSTLY:
                # The budget of the document is spent: the rest cannot be checked.
                rule = f"{error.violations[0].rule} and those before it"
                violation = Violation(f"{key}.schema", rule)
                raise Invalid(error.code, f"{violation.field}: {rule}", [violation]) from None
            refused += _of_key(key, error.violations)
            if len(refused) >= VIOLATIONS_MAX:
                break
    return passed, refused


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is wrong with the parts of a document, and what is only probably a mistake.

    `passed` are the broken rules that a lenient caller lets pass. `metadata` has the members that
    cannot be stored, by name.
    """

    passed: list[Violation]
    refused: list[Violation]
    metadata: Mapping[str, list[Violation]]
    advice: list[Violation]

    @property
    def members(self) -> list[Violation]:
        return [violation for found in self.metadata.values() for violation in found]


def examine(document: Document, checkers: Checkers, *, lenient: bool) -> Findings:
    """Return what is wrong with each part of a document. Raises as `check_contents`."""
    with checkers.request() as check:
        passed, refused = find_broken(document.entries.items(), check, lenient=lenient)
    return Findings(
        passed=passed,
        refused=refused,
        metadata=_wrong_metadata(document.metadata or {}),
        advice=_advice(document),
    )


def _checked(document: Document, checkers: Checkers, *, lenient: bool) -> Document:
    found = examine(document, checkers, lenient=lenient)
    members = found.members[:VIOLATIONS_MAX]
    if found.refused:
        raise _entries_invalid([*found.refused, *([] if lenient else members)])
    if members and not lenient:
        first = members[0]
        raise Invalid("metadata_invalid", f"{first.field}: {first.rule}", members)
    kept = {
        name: each for name, each in (document.metadata or {}).items() if name not in found.metadata
    }
    check_size(kept)
    warnings = [f"{each.field}: {each.rule}" for each in (*found.passed, *found.advice)]
    warnings += [f"{each.field}: {each.rule}; it was left out" for each in members]
    return replace(
        document,
        metadata=None if document.metadata is None else kept,
        is_lenient=lenient,
        warnings=(*document.warnings, *warnings),
    )


def _entries_invalid(violations: Sequence[Violation]) -> Invalid:
    first = violations[0]
    message = f"{first.field}: {first.rule}"
    return Invalid("entries_invalid", message, violations[:VIOLATIONS_MAX])


def _wrong_metadata(metadata: Mapping[str, Any]) -> dict[str, list[Violation]]:
    # Null is not a value of a document: in a patch it removes a member.
    found = {
        name: wrong_members({name: [] if value is None else value})
        for name, value in metadata.items()
    }
    return {name: violations for name, violations in found.items() if violations}


def _advice(document: Document) -> list[Violation]:
    found: list[Violation] = []
    for key, content in document.entries.items():
        if content.kind is Kind.FLAG:
            found += _of_key(f"{key}.value", flag_advice(content.value))
        elif content.kind is Kind.SEGMENT:
            found += _of_key(key, rule_advice(content.value, "value"))
    return found


def _of_key(key: str, violations: Iterable[Violation]) -> list[Violation]:
    return [Violation(f"{key}.{each.field}", each.rule) for each in violations]
