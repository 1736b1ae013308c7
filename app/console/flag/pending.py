"""The changes of a draft that are not saved: in words, as JSON, and with advice."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from app.configuration.snapshots.snapshot import Configuration
from app.console.entry_drafts import has_same_content, view_of
from app.console.flag.definition import DraftResult
from app.console.json_text import DiffLine, diff
from app.errors import Violation
from app.evaluation.advice import flag_advice
from app.flags.change_words.entries import describe_change
from app.flags.change_words.sentences import Sentence, Tense

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
    before = msgspec.structs.replace(view_of(base), description=base.description or None)
    after = msgspec.structs.replace(
        before, value=result.definition, description=result.description or None
    )
    is_changed = not has_same_content(before, after)
    sentences = describe_change(base.key, before, after, tense=Tense.PLANNED)
    return PendingChanges(
        sentences=sentences if is_changed else [],
        lines=diff(before.value, after.value) if is_changed else [],
        advice=list(islice(flag_advice(after.value), _ADVICE_MAX)),
        is_changed=is_changed,
    )
