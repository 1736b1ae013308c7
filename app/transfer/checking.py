"""Documents whose contents were checked as far as they can be without looking at what is there.

That is done before anything is locked, as ten thousand values under large schemas take their time.
"""

from collections.abc import Iterable
from pathlib import Path

from app.changes.models import Content
from app.changes.values import COST_MAX, check_content, cost_of
from app.errors import Invalid, Violation, invalid
from app.transfer.documents import Document, Format
from app.transfer.reading import read_document, read_file

# About two seconds for all of a document, where one entry may take a tenth of a second.
DOCUMENT_COST_MAX = 20 * COST_MAX


def read_checked(raw: bytes, format_: Format, *, nodes_max: int) -> Document:
    """Return the document. Raises Malformed, Invalid or TooLarge that name the key and the rule."""
    return _checked(read_document(raw, format_, nodes_max=nodes_max))


def read_checked_file(path: Path, format_: Format | None) -> Document:
    """Return the document of a file, in the format that its name says if none is given."""
    return _checked(read_file(path, format_))


def check_contents(contents: Iterable[tuple[str, Content]]) -> None:
    """Raise Invalid or TooLarge that names the first key whose content breaks a rule."""
    cost = 0
    for key, content in contents:
        try:
            cost += cost_of(content.value, content.schema)
            if cost > DOCUMENT_COST_MAX:
                raise invalid("schema", "takes too long to check with those before it")
            check_content(content)
        except Invalid as error:
            violations = [Violation(f"{key}.{each.field}", each.rule) for each in error.violations]
            first = violations[0]
            raise Invalid(error.code, f"{first.field}: {first.rule}", violations) from None


def _checked(document: Document) -> Document:
    check_contents(document.entries.items())
    return document
