"""Documents whose contents were checked as far as they can be without looking at what is there.

That is done before anything is locked, as ten thousand values under large schemas take their time.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from app.changes.models import Content
from app.changes.properties import check_size, wrong_members
from app.changes.values import SCHEMA_TOO_COSTLY, check_content
from app.errors import Invalid, Violation
from app.json_schema.pool import Checkers, RequestCheck
from app.transfer.documents import NODES_MAX, Document, Format
from app.transfer.reading import read_document, read_file

VIOLATIONS_MAX = 100


def read_checked(
    raw: bytes,
    format_: Format,
    checkers: Checkers,
    *,
    nodes_max: int = NODES_MAX,
    lenient: bool = False,
) -> Document:
    """Return the document. Raises Malformed, Invalid or TooLarge that name each key and rule.

    What flags and segments break of their format is a warning to a lenient caller, as it is to
    flagd; they fail alone, when they are evaluated.
    """
    document = read_document(raw, format_, nodes_max=nodes_max, lenient=lenient)
    return _checked(document, checkers, lenient=lenient)


def read_checked_file(
    path: Path, format_: Format | None, checkers: Checkers, *, lenient: bool = False
) -> Document:
    """Return the document of a file, in the format that its name says if none is given."""
    return _checked(read_file(path, format_, lenient=lenient), checkers, lenient=lenient)


def check_contents(
    contents: Iterable[tuple[str, Content]], check: RequestCheck, *, lenient: bool = False
) -> list[Violation]:
    """Return what a lenient caller lets pass. Raises Invalid that names every key and rule that is
    broken, as far as anybody would read; TooLarge for the first that is.
    """
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
    if refused:
        first = refused[0]
        message = f"{first.field}: {first.rule}"
        raise Invalid("entries_invalid", message, refused[:VIOLATIONS_MAX])
    return passed


def _checked(document: Document, checkers: Checkers, *, lenient: bool) -> Document:
    with checkers.request() as check:
        passed = check_contents(document.entries.items(), check, lenient=lenient)
    document = _with_checked_metadata(document, lenient=lenient)
    warnings = tuple(f"{each.field}: {each.rule}" for each in passed)
    return replace(document, is_lenient=lenient, warnings=document.warnings + warnings)


def _with_checked_metadata(document: Document, *, lenient: bool) -> Document:
    """Return the document with metadata that can be stored.

    A lenient caller is told which members were left out: no client could read them.
    """
    wrong: dict[str, list[Violation]] = {}
    for name, value in (document.metadata or {}).items():
        # Null, which means that a member goes where it is patched, is no value of a whole.
        found = wrong_members({name: [] if value is None else value})
        wrong |= {name: found} if found else {}
    violations = [each for found in wrong.values() for each in found][:VIOLATIONS_MAX]
    if violations and not lenient:
        first = violations[0]
        raise Invalid("metadata_invalid", f"{first.field}: {first.rule}", violations)
    kept = {name: value for name, value in (document.metadata or {}).items() if name not in wrong}
    check_size(kept)
    return replace(
        document,
        metadata=None if document.metadata is None else kept,
        warnings=document.warnings
        + tuple(f"{each.field}: {each.rule}; it was left out" for each in violations),
    )


def _of_key(key: str, violations: Iterable[Violation]) -> list[Violation]:
    return [Violation(f"{key}.{each.field}", each.rule) for each in violations]
