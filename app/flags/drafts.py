"""A draft: changes of entries that are not stored, and why the API would refuse them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, takewhile
from typing import Any

from app.access.permissions import Keys
from app.configuration.changes.flag_checks import newly_uncompilable
from app.configuration.changes.foreign_entries import without_foreign
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.prerequisites import (
    added_needs,
    check_added_needs,
    check_still_needed,
    facts_of,
    flags_of,
    lost_variants,
)
from app.configuration.changes.references import (
    check_added,
    is_segment,
    names_in,
    reachable,
    referenced_names,
    rule_of,
    segment_in_use,
)
from app.configuration.changes.service import check_kind, is_stored
from app.configuration.entries.service import check_key
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import AppError, Invalid, RetryLater, Violation, as_sentence
from app.evaluation.engine import FlagSet
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.lists import ListReference, list_reference
from app.evaluation.ruleset import Ruleset, decode_definition
from app.flags.segment_users import flags_using, referring_keys

_VIOLATIONS_MAX = 20
# No list has this digest.
_NO_LIST = ListReference(0, "0" * 64).value


@dataclass(frozen=True, kw_only=True)
class Draft:
    """New contents by key, and the stored ones; None is no entry. `rules` are the stored rules.

    `keys` are those of the reader. Other entries that the draft affects are checked, but the reader
    sees neither their names nor their contents.
    """

    rules: Ruleset
    keys: Keys
    before: Mapping[str, Content | None]
    after: Mapping[str, Content | None]

    @classmethod
    def of(
        cls, snapshot: Snapshot, after: Mapping[str, Content | None], keys: Keys | None = None
    ) -> "Draft":
        """Return a draft for a reader who sees these keys, by default those of the snapshot."""
        before = {
            key: Content.of(snapshot.entries[key].configuration)
            for key in after
            if key in snapshot.entries
        }
        return cls(
            rules=snapshot.rules.whole or snapshot.rules,
            keys=snapshot.limits if keys is None else keys,
            before={key: before.get(key) for key in after},
            after=after,
        )

    def sees(self, key: str) -> bool:
        """Return whether the reader may see the name and the content of an entry."""
        return key in self.keys

    @cached_property
    def changed_segments(self) -> list[str]:
        contents = (self.before, self.after)
        return [key for key in self.after if any(is_segment(part[key]) for part in contents)]

    @cached_property
    def flags(self) -> list[str]:
        """The flags of the draft, then all others that use a segment or flag of the draft.

        Without those that the reader does not see.
        """
        return list(filter(self.sees, [*self._own_flags(), *self.users]))

    @cached_property
    def users(self) -> list[str]:
        """The stored flags that use a segment or flag of the draft."""
        users = {*flags_using(self.rules, self.changed_segments), *self._own_flags()}
        return sorted(self.rules.with_dependents(users) - self.after.keys())

    @cached_property
    def flag_set(self) -> FlagSet:
        """The segments and flags after the draft, with the environment's bucketing and metadata."""
        segments = dict(self.rules.segments)
        for key in self.changed_segments:
            segments.pop(key, None)
            if (content := self.after[key]) is not None and is_segment(content):
                segments[key] = self._shown_list(content.value)
        flag_set = FlagSet(segments, self.rules.fractional, self.rules.metadata)
        stale = {*self.after, *self.users}
        return FlagCompiler(
            flag_set, self.definition_after, flags=self.rules.flags, stale=stale
        ).flag_set

    def _shown_list(self, value: Any) -> Any:
        """Return the value of a new segment, without a list that the reader may not know.

        The outcomes of such a draft would show its values. It is evaluated as one that is not
        loaded, and so is a digest that does not exist.
        """
        reference = list_reference(value)
        if reference is None or self.keys.is_all or reference in self._own_lists:
            return value
        return _NO_LIST

    @cached_property
    def _own_lists(self) -> set[ListReference]:
        """The lists that stored entries of the reader name."""
        segments = self.rules.segments.items()
        lists = (list_reference(value) for key, value in segments if self.sees(key))
        return {reference for reference in lists if reference is not None}

    def definition_before(self, key: str) -> Any:
        """Return the stored definition of a flag, None if there is none."""
        raw = self.rules.definitions.get(key)
        return None if raw is None else decode_definition(raw)

    def definition_after(self, key: str) -> Any:
        if key not in self.after:
            return self.definition_before(key)
        content = self.after[key]
        return content.value if content is not None and content.kind is Kind.FLAG else None

    def _own_flags(self) -> Iterator[str]:
        for key in self.after:
            contents = (self.before[key], self.after[key])
            if any(content is not None and content.kind is Kind.FLAG for content in contents):
                yield key


def find_entry_errors(
    draft: Draft, find_format_error: Callable[[Content], AppError | None]
) -> Iterator[tuple[str, AppError]]:
    """Yield why the API would refuse an entry by itself, with its key. Raises Unavailable.

    `find_format_error` is that of `content_checks`, with a check of the request.
    """
    for key, content in draft.after.items():
        stored = draft.before[key]
        try:
            if content is not None:
                check_key(key)
                refusal = find_format_error(content)
                if refusal is not None and not is_stored(content, stored):
                    raise refusal
            check_kind(content, stored)
        except RetryLater:
            raise
        except AppError as error:
            yield key, error


def find_reference_error(draft: Draft) -> AppError | None:
    """Return why the API would refuse the references of the draft."""
    try:
        _check_references(draft)
        _check_prerequisites(draft)
    except AppError as error:
        return without_foreign(error, draft.keys)
    return None


def find_compile_error(draft: Draft, is_over: Callable[[], bool]) -> AppError | None:
    """Return why flags and segments would no longer compile. Stops when the time is over."""
    before, after = _rules(draft.before), _rules(draft.after)
    users = ((key, _targeting(draft.definition_before(key))) for key in draft.users)
    checked = takewhile(lambda _: not is_over(), chain(after.items(), users))
    found = newly_uncompilable(
        checked, draft.flag_set.segments, before, draft.rules.segments, set(draft.users)
    )
    violations = list(islice(found, _VIOLATIONS_MAX))
    if not violations:
        return None
    error = Invalid("flag_not_compiling", as_sentence(violations), violations)
    return without_foreign(error, draft.keys)


def guarded_flags(draft: Draft) -> Iterator[tuple[str, Any]]:
    """Yield the flags whose guards the API would evaluate, with their definitions.

    They are those that the draft affects, or all if it has a segment, in the order of keys.
    """
    keys: Iterable[str] = {*draft.after, *draft.users}
    if any(is_segment(content) for content in draft.after.values()):
        guarded = (key for key, raw in draft.rules.definitions.items() if b'"guards"' in raw)
        keys = {*keys, *guarded}
    for key in sorted(keys):
        definition = draft.definition_after(key)
        if isinstance(definition, dict) and definition.get("guards"):
            yield key, definition


def _check_references(draft: Draft) -> None:
    removed = {key for key in draft.changed_segments if not is_segment(draft.after[key])}
    used = [
        Violation(key, f"refers to {segment}")
        for key, segment in sorted(referring_keys(draft.rules, removed))
        if key not in draft.after
    ]
    if used:
        raise segment_in_use(used[:_VIOLATIONS_MAX])
    referring = _names(draft.after)
    before = _names(draft.before)
    added = {key: names - (before.get(key, set()) - removed) for key, names in referring.items()}
    if not any(added.values()):
        return
    stored = {key: set(names_in(rule)) for key, rule in draft.rules.segments.items()}
    names = set[str]().union(*referring.values())
    segments = {key: stored[key] for key in reachable(names, stored) if key in stored}
    for key in draft.after:
        segments.pop(key, None)
    segments |= {key: referring[key] for key in referring if is_segment(draft.after[key])}
    check_added(added, segments)


def _check_prerequisites(draft: Draft) -> None:
    before, after = flags_of(draft.before), flags_of(draft.after)
    lost = lost_variants(before, after)
    stored = {key: facts_of(draft.definition_before(key)) for key in draft.rules.needing}
    others = {key: facts for key, facts in stored.items() if key not in draft.after}
    check_still_needed(lost, others)
    added = added_needs(before, after, lost)
    names = {need.flag for needs in added.values() for need in needs}
    for key in names - others.keys() - draft.after.keys():
        if key in draft.rules.definitions:
            others[key] = facts_of(draft.definition_before(key))
    if added:
        check_added_needs(added, {**others, **after})


def _names(contents: Mapping[str, Content | None]) -> dict[str, set[str]]:
    return {
        key: set(referenced_names(content))
        for key, content in contents.items()
        if content is not None
    }


def _rules(contents: Mapping[str, Content | None]) -> dict[str, Any]:
    rules = {key: rule_of(content) for key, content in contents.items() if content is not None}
    return {key: rule for key, rule in rules.items() if rule}


def _targeting(definition: Any) -> Any:
    return definition.get("targeting") if isinstance(definition, dict) else None
