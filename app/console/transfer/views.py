"""The data of the page for import and export."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.configuration.changes.views import ChangeView
from app.configuration.transfer.service import ImportResult
from app.console.entry_pages import page_of_kind
from app.flags.change_words.entries import describe_change, describe_properties
from app.flags.change_words.sentences import Sentence, Tense

WARNINGS_MAX = 50


@dataclass(frozen=True, kw_only=True)
class ImportRow:
    """A key that the import changes. `page` is the group of pages of a stored entry."""

    key: str
    effect: str
    kind: str
    page: str | None
    words: Sequence[Sentence]


@dataclass(frozen=True, kw_only=True)
class ImportView:
    """The effect of an import. `more` has the other keys, by effect."""

    result: ImportResult
    rows: Sequence[ImportRow]
    more: Sequence[tuple[str, Sequence[str]]]
    properties: Sequence[Sentence]
    warnings: Sequence[str]

    @property
    def is_empty(self) -> bool:
        result = self.result
        return not (result.created or result.updated or result.deleted or result.properties)


def import_view(result: ImportResult) -> ImportView:
    """Return the view of a dry run."""
    shown = {change.key for change in result.changes}
    lists = (
        ("created", result.created),
        ("changed", result.updated),
        ("deleted", result.deleted),
    )
    more = [(effect, [key for key in keys if key not in shown]) for effect, keys in lists]
    properties = result.properties
    return ImportView(
        result=result,
        rows=[_row(change) for change in result.changes],
        more=[(effect, keys) for effect, keys in more if keys],
        properties=[]
        if properties is None
        else describe_properties(properties, tense=Tense.PLANNED),
        warnings=result.warnings[:WARNINGS_MAX],
    )


def _row(change: ChangeView) -> ImportRow:
    before, after = change.before, change.after
    effect = "created" if before is None else "deleted" if after is None else "changed"
    entry = after or before
    kind = entry.kind if entry is not None else ""
    return ImportRow(
        key=change.key,
        effect=effect,
        kind=kind,
        page=page_of_kind(kind) if before is not None else None,
        words=describe_change(change.key, before, after, tense=Tense.PLANNED),
    )
