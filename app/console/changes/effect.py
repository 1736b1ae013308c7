"""The effect of a change set: how many of 10,000 keys get another outcome, for each flag."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from app.access.permissions import Keys
from app.configuration.changes.models import Content
from app.configuration.changes.views import ChangeSetView, EntryView
from app.configuration.snapshots.snapshot import Snapshot
from app.flags.drafts import Draft
from app.flags.flag_pair import MISSING_FLAG, FlagPair
from app.flags.preview_views import Movement, SampleRequest

# The processor time of one effect.
SECONDS_MAX = 2.0
FLAGS_MAX = 20
_NO_FLAG = "no flag"
_RULE_KINDS = ("flag", "segment")


@dataclass(frozen=True, kw_only=True)
class FlagEffect:
    """The effect on one flag. `movements` are the changed keys only."""

    key: str
    keys: int
    changed: int
    movements: Sequence[Movement]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The affected flags, those of the change set first. `flags_count` includes those left out."""

    flags: Sequence[FlagEffect]
    flags_count: int
    is_complete: bool


def changed_rules(change_set: ChangeSetView) -> Mapping[str, Content | None]:
    """Return the contents after the change set of its flags and segments."""
    return {
        change.key: _content(change.after)
        for change in change_set.changes
        if any(entry and entry.kind in _RULE_KINDS for entry in (change.before, change.after))
    }


def effect_of(
    before: Snapshot, contents: Mapping[str, Content | None], keys: Keys, now: int
) -> Effect:
    """Compare the flags among the keys with the state before the contents.

    Stops when the time is over.
    """
    end = time.thread_time() + SECONDS_MAX
    draft = Draft.of(before, contents, keys)
    flags: list[FlagEffect] = []
    for key in draft.flags[:FLAGS_MAX]:
        if time.thread_time() > end:
            break
        sample = FlagPair(draft, key).sample(SampleRequest(), now, lambda: time.thread_time() > end)
        movements = [in_words(movement) for movement in sample.movements if movement.changed]
        flags.append(
            FlagEffect(key=key, keys=sample.keys, changed=sample.changed, movements=movements)
        )
    return Effect(
        flags=flags,
        flags_count=len(draft.flags),
        is_complete=len(flags) == len(draft.flags)
        and all(flag.keys == SampleRequest().keys for flag in flags),
    )


def in_words(movement: Movement) -> Movement:
    """Replace the error code of a flag that does not exist by words."""
    names = {"before": movement.before, "after": movement.after}
    words = {side: _NO_FLAG for side, name in names.items() if name == MISSING_FLAG}
    return msgspec.structs.replace(movement, **words)


def _content(entry: EntryView | None) -> Content | None:
    return None if entry is None else Content.of(entry)
