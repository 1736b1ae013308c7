"""Check the history of one environment, independently of the clients."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from tests.process.history.records import Change, ChangeSet, Entry, Final, Served


class Violation(NamedTuple):
    """A broken promise: its name and the place."""

    name: str
    text: str


class _Item(msgspec.Struct):
    key: str
    version: int
    value: object


class _Page(msgspec.Struct):
    items: list[_Item]


class Past:
    """`states` has the entries after each revision, by key; revision 0 is the start."""

    def __init__(self, final: Final) -> None:
        self.final = final
        self.states: dict[int, Mapping[str, Entry]] = {0: {}}
        self._named: dict[str, list[ChangeSet]] = defaultdict(list)
        self._changes: dict[tuple[int, str], Change] = {}
        self._keys: dict[int, tuple[str, ...]] = {}
        state: dict[str, Entry] = {}
        for change_set in final.change_sets:
            state = _advanced(state, change_set)
            self.states[change_set.revision] = state
            self._named[change_set.message].append(change_set)
            self._keys[change_set.revision] = tuple(change.key for change in change_set.changes)
            self._changes |= {
                (change_set.revision, change.key): change for change in change_set.changes
            }
            if change_set.properties is not None:
                self._changes[change_set.revision, ""] = change_set.properties

    def change(self, revision: int, key: str) -> Change | None:
        return self._changes.get((revision, key))

    def named(self, message: str) -> list[ChangeSet]:
        return self._named.get(message, [])

    def keys(self, revision: int, prefix: str) -> tuple[str, ...]:
        """Return the keys with the prefix that a change set changed."""
        return tuple(key for key in self._keys.get(revision, ()) if key.startswith(prefix))


def check_past(past: Past) -> Iterator[Violation]:
    """Yield each contradiction between history, state and the replicas' answers."""
    final = past.final
    yield from _numbers(final)
    yield from _fold(past)
    if past.states.get(final.revision) != final.entries:
        yield Violation("fold_differs", f"{final.environment}: the changes do not give the entries")
    yield from _properties(final)
    if final.reported != final.change_sets:
        yield Violation("history_told_wrong", final.environment)
    yield from _convergence(final)


def _numbers(final: Final) -> Iterator[Violation]:
    """Revisions have no gaps and end at the environment's; each version occurs once."""
    revisions = [change_set.revision for change_set in final.change_sets]
    if revisions != list(range(1, final.revision + 1)):
        missing = sorted(set(range(1, final.revision + 1)) - set(revisions))[:10]
        yield Violation(
            "revision_gap", f"{final.environment}: {missing} missing of {len(revisions)}"
        )
    won = Counter(
        (change.key, change.after.version)
        for change_set in final.change_sets
        for change in change_set.changes
        if change.after is not None
    )
    for place, count in won.items():
        if count > 1:
            yield Violation("version_won_twice", f"{final.environment}: {place}, {count} times")


def _fold(past: Past) -> Iterator[Violation]:
    """Each change starts from the stored entry, and its version follows the key's last."""
    last: dict[str, int] = {}
    state: Mapping[str, Entry] = {}
    for change_set in past.final.change_sets:
        for change in change_set.changes:
            where = f"{past.final.environment}:{change_set.revision} {change.key}"
            if change.before != state.get(change.key):
                yield Violation("fold_differs", f"{where} was not as its change says")
            if change.after is None:
                continue
            if change.after.version != last.get(change.key, 0) + 1:
                yield Violation("version_gap", f"{where} has version {change.after.version}")
            last[change.key] = change.after.version
        state = past.states[change_set.revision]


def _properties(final: Final) -> Iterator[Violation]:
    """Each change of properties starts from the stored ones, and replicas serve the last ones."""
    there: Entry | None = None
    for change_set in final.change_sets:
        change = change_set.properties
        if change is None or change.before is None or change.after is None:
            continue
        if there is not None and change.before != there:
            yield Violation("properties_differ", f"{final.environment}:{change_set.revision}")
        there = change.after
    if there is not None and there != final.properties:
        yield Violation("properties_differ", f"{final.environment} is not as its last change says")
    for replica, served in final.served.items():
        if served.properties != final.properties:
            yield Violation("properties_differ", f"{replica} serves others")


def _convergence(final: Final) -> Iterator[Violation]:
    """Streams and replicas have the last revision; replicas serve the same bytes."""
    for stream, revision in final.streams.items():
        if revision != final.revision:
            yield Violation("not_converged", f"{stream} stands at {revision}")
    for replica, served in final.served.items():
        if (served.epoch, served.revision) != (final.epoch, final.revision):
            yield Violation(
                "not_converged",
                f"{replica} serves {final.environment}:{served.revision}, not {final.revision}",
            )
        elif entries_of(served) != final.entries:
            yield Violation("fold_differs", f"{replica} serves other entries")
    if len({served.page for served in final.served.values()}) > 1:
        yield Violation("not_converged", f"{final.environment}: replicas serve different bytes")


def entries_of(served: Served) -> Mapping[str, Entry]:
    page = msgspec.json.decode(served.page, type=_Page)
    return {item.key: Entry(item.version, item.value) for item in page.items}


def _advanced(state: Mapping[str, Entry], change_set: ChangeSet) -> dict[str, Entry]:
    following = dict(state)
    for change in change_set.changes:
        if change.after is None:
            following.pop(change.key, None)
        else:
            following[change.key] = change.after
    return following
