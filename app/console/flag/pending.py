"""The changes of a draft that are not saved: in words, as JSON, and with advice."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.configuration.changes.views import EntryView
from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.definition import DraftResult, is_same
from app.console.json_text import DiffLine, diff
from app.errors import Violation
from app.evaluation.advice import flag_advice
from app.flags.change_words.entries import describe_change
from app.flags.change_words.sentences import Sentence

_ADVICE_MAX = 5


@dataclass(frozen=True, kw_only=True)
class PendingChanges:
    """`sentences` are the changes in words. `lines` is None when there are too many."""

    sentences: Sequence[Sentence]
    lines: Sequence[DiffLine] | None
    advice: Sequence[Violation]
    is_changed: bool


def pending_changes(base: Configuration, result: DraftResult) -> PendingChanges:
    """Compare the draft with the flag from which it began."""
    before = _view(base, base.value, base.description)
    after = _view(base, result.definition, result.description)
    is_changed = not is_same([before], [after])
    return PendingChanges(
        sentences=describe_change(base.key, before, after) if is_changed else [],
        lines=diff(before.value, after.value) if is_changed else [],
        advice=list(islice(flag_advice(after.value), _ADVICE_MAX)),
        is_changed=is_changed,
    )


def _view(base: Configuration, value: Any, description: str | None) -> EntryView:
    return EntryView(
        kind=base.kind,
        value=value,
        schema=base.schema,
        description=description or None,
        version=base.version,
    )
