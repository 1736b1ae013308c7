"""Check documents as far as possible without the database.

This happens before anything is locked, since ten thousand values with large schemas take seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.configuration.changes.content_checks import SCHEMA_TOO_COSTLY, check_content
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.properties import check_size, wrong_members
from app.configuration.json_schema.pool import Checkers, RequestCheck
from app.configuration.transfer.documents import Document
from app.configuration.transfer.secret_names import with_secrets
from app.errors import Invalid, Violation
from app.evaluation.advice import flag_advice, rule_advice

VIOLATIONS_MAX = 100


def check_document(
    document: Document, checkers: Checkers, *, lenient: bool = False, secrets: Sequence[str] = ()
) -> Document:
    """Return the document, checked. Raises Invalid or TooLarge, naming keys and rules.

    `secrets` are patterns for the names of secrets in a file without kinds. With `lenient`, an
    invalid flag or segment is a warning, as in flagd. It then fails when it is evaluated.
    """
    document = with_secrets(document, secrets)
    findings = examine(document, checkers, lenient=lenient)
    members = findings.members[:VIOLATIONS_MAX]
    if findings.refused:
        violations = [*findings.refused, *([] if lenient else members)]
        raise Invalid.of("entries_invalid", violations[:VIOLATIONS_MAX])
    if members and not lenient:
        raise Invalid.of("metadata_invalid", members)
    metadata = {
        name: value
        for name, value in (document.metadata or {}).items()
        if name not in findings.metadata
    }
    check_size(metadata)
    warnings = [str(violation) for violation in (*findings.tolerated, *findings.advice)]
    warnings += [f"{violation}; it was left out" for violation in members]
    return replace(
        document,
        metadata=None if document.metadata is None else metadata,
        is_lenient=lenient,
        warnings=(*document.warnings, *warnings),
    )


def find_broken(
    contents: Iterable[tuple[str, Content]], check: RequestCheck, *, lenient: bool
) -> tuple[list[Violation], list[Violation]]:
    """Return the tolerated and the refused violations. Raises TooLarge and Invalid."""
    tolerated: list[Violation] = []
    refused: list[Violation] = []
    for key, content in contents:
        try:
            tolerated += _with_key(key, check_content(content, check, lenient=lenient))
        except Invalid as error:
            if error.code == SCHEMA_TOO_COSTLY:
                # The time budget of the document is spent, so the rest cannot be checked.
                rule = f"{error.violations[0].rule} and those before it"
                raise Invalid.of(error.code, [Violation(f"{key}.schema", rule)]) from None
            refused += _with_key(key, error.violations)
            if len(refused) >= VIOLATIONS_MAX:
                break
    return tolerated, refused


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The violations in a document. `advice` are only probable mistakes.

    `tolerated` are the violations that `lenient` tolerates. `metadata` has the violations of each
    member of the metadata.
    """

    tolerated: list[Violation]
    refused: list[Violation]
    metadata: Mapping[str, list[Violation]]
    advice: list[Violation]

    @property
    def members(self) -> list[Violation]:
        return [violation for violations in self.metadata.values() for violation in violations]


def examine(document: Document, checkers: Checkers, *, lenient: bool) -> Findings:
    """Return the violations in a document. Raises as `find_broken`."""
    with checkers.request() as check:
        tolerated, refused = find_broken(document.entries.items(), check, lenient=lenient)
    return Findings(
        tolerated=tolerated,
        refused=refused,
        metadata=_wrong_metadata(document.metadata or {}),
        advice=_advice(document),
    )


def _wrong_metadata(metadata: Mapping[str, Any]) -> dict[str, list[Violation]]:
    # In a patch, null removes a member. In a document it is invalid, like a list.
    by_name = {
        name: wrong_members({name: [] if value is None else value})
        for name, value in metadata.items()
    }
    return {name: violations for name, violations in by_name.items() if violations}


def _advice(document: Document) -> list[Violation]:
    advice: list[Violation] = []
    for key, content in document.entries.items():
        if content.kind is Kind.FLAG:
            advice += _with_key(f"{key}.value", flag_advice(content.value))
        elif content.kind is Kind.SEGMENT:
            advice += _with_key(key, rule_advice(content.value, "value"))
    return advice


def _with_key(key: str, violations: Iterable[Violation]) -> list[Violation]:
    return [Violation(f"{key}.{violation.field}", violation.rule) for violation in violations]
