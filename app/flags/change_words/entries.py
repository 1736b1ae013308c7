"""Say how an entry, an environment or a whole change set changed. Never the value of a secret."""

from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec import UNSET

from app.configuration.changes.models import Kind
from app.configuration.changes.views import ChangeView, EntryView, PropertiesChangeView
from app.crypto.sealed import is_sealed
from app.environments.protection import protection_words
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced
from app.flags.change_words.definitions import describe_definition, describe_segment
from app.flags.change_words.sentences import (
    CHANGED,
    SENTENCES_MAX,
    WAS,
    Part,
    Sentence,
    Tense,
    bounded,
    in_tense,
    name,
    sentence,
    verb,
    with_prefix,
)
from app.flags.change_words.values import describe_value, value_text
from app.flags.wording import condition_text, describe

_VALUE_MAX = 60
_MAY_BE = verb("may have been", "may be")
_IS_NOW = verb("is now", "becomes")


def describe_change(
    key: str, before: EntryView | None, after: EntryView | None, *, tense: Tense = Tense.PAST
) -> list[Sentence]:
    """Return at most 20 sentences, and one with the number of the others."""
    return in_tense(bounded(_of_entry(key, before, after)), tense)


def describe_properties(
    change: PropertiesChangeView, *, tense: Tense = Tense.PAST
) -> list[Sentence]:
    """Return the sentences of an environment's properties, at most 20 and one more."""
    return in_tense(bounded(_of_properties(change)), tense)


def describe_changes(
    changes: Iterable[ChangeView],
    properties: PropertiesChangeView | None = None,
    *,
    limit: int = SENTENCES_MAX,
    hidden: int = 0,
    tense: Tense = Tense.PAST,
) -> list[Sentence]:
    """Return the first sentences of a change set, and one with the number of the others.

    Each names its key. `hidden` is the number of changes that the caller leaves out.
    """
    of_properties = _of_properties(properties) if properties is not None else ()
    of_entries = chain.from_iterable(map(_with_key, changes))
    described = bounded(chain(of_properties, of_entries), limit=limit, hidden=hidden)
    return in_tense(described, tense)


def _with_key(change: ChangeView) -> Iterator[Sentence]:
    described = _of_entry(change.key, change.before, change.after)
    if _kind(change.before) == _kind(change.after) == Kind.FLAG:
        return (with_prefix(change.key, of_flag) for of_flag in described)
    return described


def _kind(entry: EntryView | None) -> str | None:
    return None if entry is None else entry.kind


def _of_entry(key: str, before: EntryView | None, after: EntryView | None) -> Iterator[Sentence]:
    """Yield the sentences of an entry. All but those of a changed flag name its key."""
    if before is None or after is None:
        if after is not None:
            yield sentence(*_title(key, after), " ", WAS, " created", *_first_value(after))
        elif before is not None:
            yield sentence(*_title(key, before), " ", WAS, " deleted", *_last_value(before))
    elif before.kind != after.kind:
        yield sentence("Kind of ", name(key), " ", CHANGED, f" from {before.kind} to {after.kind}")
        yield from _of_texts((" of ", name(key)), before, after)
    elif before.kind == Kind.FLAG:
        yield from describe_definition(before.value, after.value)
        yield from _of_texts((), before, after)
    else:
        texts = list(_of_texts((" of ", name(key)), before, after))
        yield from _of_value(key, before, after, has_other_changes=bool(texts))
        yield from texts


def _title(key: str, entry: EntryView) -> tuple[Part, ...]:
    return (f"{entry.kind.capitalize()} ", name(key))


def _first_value(entry: EntryView) -> tuple[str, ...]:
    if entry.kind == Kind.FLAG:
        text = "; ".join(describe(entry.value))
        return (", " if text.startswith("disabled") else ": ", text)
    if entry.kind == Kind.SEGMENT:
        tree = read(entry.value)
        condition = None if isinstance(tree, Advanced) else tree.shorthand
        return () if condition is None else (": ", condition_text(condition))
    return (": ", value_text(entry.value, _VALUE_MAX)) if _is_shown(entry) else ()


def _last_value(entry: EntryView) -> tuple[Part, ...]:
    if entry.kind != Kind.SETTING or not _is_shown(entry):
        return ()
    return ("; its value ", WAS, " ", value_text(entry.value, _VALUE_MAX))


def _is_shown(entry: EntryView) -> bool:
    """Return whether a value is neither a secret nor sealed for hosts."""
    is_secret = entry.sealed or entry.kind == Kind.SECRET
    return not is_secret and not (isinstance(entry.value, str) and is_sealed(entry.value))


def _of_value(
    key: str, before: EntryView, after: EntryView, *, has_other_changes: bool
) -> Iterator[Sentence]:
    if before.kind == Kind.SEGMENT:
        yield from describe_segment(key, before.value, after.value)
    elif before.kind == Kind.SECRET:
        yield from _of_secret(key, before, after, has_other_changes=has_other_changes)
    elif _is_shown(before) and _is_shown(after):
        yield from describe_value((name(key),), before.value, after.value)
    elif before.value != after.value:
        yield sentence("The sealed value of ", name(key), " ", WAS, " replaced")


def _of_secret(
    key: str, before: EntryView, after: EntryView, *, has_other_changes: bool
) -> Iterator[Sentence]:
    """Say that a secret was replaced. Two masked secrets do not show whether their values differ.

    Without another change it was. Otherwise a copy may have been stored with a new description.
    """
    if before.version != after.version:
        replaced = _MAY_BE if has_other_changes else WAS
        yield sentence("The secret ", name(key), " ", replaced, " replaced")


def _of_texts(of_key: tuple[Part, ...], before: EntryView, after: EntryView) -> Iterator[Sentence]:
    for title, old, new in (
        ("Description", before.description, after.description),
        ("Schema", before.schema, after.schema),
    ):
        sides = (UNSET if side is None else side for side in (old, new))
        yield from describe_value((title, *of_key), *sides)


def _of_properties(change: PropertiesChangeView) -> Iterator[Sentence]:
    before, after = change.before, change.after
    for member in before.metadata | after.metadata:
        old, new = (side.metadata.get(member, UNSET) for side in (before, after))
        yield from describe_value(("Metadata ", name(member), " of the environment"), old, new)
    if before.fractional != after.fractional:
        texts = name(before.fractional), " to ", name(after.fractional)
        yield sentence("Bucketing of splits ", CHANGED, " from generation ", *texts)
    if before.protected != after.protected:
        state = _IS_NOW if after.protected else "is no longer"
        yield sentence("The environment ", state, " protected from deletion")
    if before.protection != after.protection:
        old, new = map(protection_words, (before.protection, after.protection))
        yield sentence("Approvals for changes: ", CHANGED, " from ", name(old), " to ", name(new))
