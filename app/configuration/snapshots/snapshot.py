"""One environment at one revision. Entries are encoded once and stored as bytes.

Decoded values would take three times the memory, and a dozen objects per entry for the garbage
collector. A snapshot is immutable: the next one shares all unchanged entries. So a request answers
from one revision, however long it takes.
"""

import hashlib
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, reduce
from operator import xor
from types import MappingProxyType
from typing import Any

import msgspec

from app import VERSION
from app.access.permissions import ALL_KEYS, Keys
from app.configuration.snapshots.change_event import ChangeEvent
from app.configuration.snapshots.limited import QUICK_ENTRIES, Parts, limited_environment
from app.environments.models import Environment
from app.evaluation.ruleset import Rule, Ruleset
from app.evaluation.shared_mapping import SharedMapping
from app.http.headers import entity_tag, header_lines, revision_header

# Recent events in memory for streams. Older events are read from the history.
RECENT_MAX = 256
PAGE_BYTES_MAX = 4 * 1024 * 1024
# At most 2 MB of pages for each snapshot.
PAGES_MAX = 16
CACHED_PAGE_BYTES_MAX = 128 * 1024
# The members of an environment that the digest of a snapshot covers.
_DIGESTED = (
    *("name", "tier", "revision", "epoch", "hash", "protected"),
    *("fractional", "metadata", "version", "first_revision"),
)


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry in an answer. `sealed` marks a masked secret, whose value is null.

    `id` identifies the entry from its creation to its deletion. It is absent when a past entry has
    no ID any more.
    """

    id: str | None = None
    environment: str
    key: str
    kind: str
    value: Any
    sealed: bool = False
    schema: dict[str, Any] | None
    description: str | None
    version: int
    updated_revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EncodedEntry:
    """An entry as an HTTP answer: body, entity tag, and header lines for 200 and 304.

    The lines are made for each answer: stored, they would take as much memory as a short value.
    """

    kind: str
    body: bytes
    etag: str

    @property
    def head(self) -> bytes:
        return b"Content-Type: application/json\r\nContent-Length: %d\r\n%b" % (
            len(self.body),
            self.head_not_modified,
        )

    @property
    def head_not_modified(self) -> bytes:
        return b"ETag: %b\r\n" % self.etag.encode()

    @property
    def configuration(self) -> Configuration:
        return msgspec.json.decode(self.body, type=Configuration)


@dataclass(frozen=True, slots=True)
class Page:
    """Encoded entries in the order of keys.

    `next` is the last key of a page that is not the last.
    """

    items: Sequence[bytes]
    next: str | None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The entries of an environment in the order of keys, and the compiled flags and segments.

    `recent` are the last events, without gaps. `limits` are the keys of a part.
    """

    environment: Environment
    entries: SharedMapping[EncodedEntry]
    rules: Ruleset
    recent: tuple[ChangeEvent, ...] = ()
    limits: Keys = ALL_KEYS

    @cached_property
    def head(self) -> bytes:
        """The header line with the revision."""
        return header_lines(revision_header(self.epoch, self.revision))

    @cached_property
    def rules_state(self) -> bytes:
        """Bytes that differ when outcomes may differ: rules, epoch, bucketing and release.

        The release is a part, since another release may evaluate differently.
        """
        rules = self.rules
        state = rules.outcomes_digest.to_bytes(16)
        return f"{VERSION}/{self.epoch}{rules.fractional}".encode() + state

    @cached_property
    def position(self) -> str:
        """Epoch, revision and digest. Two snapshots with the same position have the same state."""
        return f"{self.epoch}:{self.revision}:{self.digest}"

    @cached_property
    def digest(self) -> str:
        """Identify the state, in hex. A relay compares its own with that of its upstream.

        New members of an environment must not be a part: a relay of another release lacks them.
        """
        members = [getattr(self.environment, name) for name in _DIGESTED]
        return f"{self.entries_digest ^ _digest(msgspec.json.encode(members)):032x}"

    @cached_property
    def entries_digest(self) -> int:
        """The digests of all entries, combined by exclusive or. Later snapshots continue it."""
        return reduce(xor, (_digest(entry.body) for entry in self.entries.values()), 0)

    @property
    def is_digested(self) -> bool:
        """Whether the digest is known. Otherwise it takes about 2 µs for each entry."""
        return "entries_digest" in self.__dict__

    @property
    def keys(self) -> Sequence[str]:
        return self.entries.sorted_keys

    @property
    def revision(self) -> int:
        return self.environment.revision

    @property
    def epoch(self) -> str:
        return self.environment.epoch

    @cached_property
    def _parts(self) -> Parts:
        return Parts(len(self.entries))

    def limited_to(self, keys: Keys) -> "Snapshot":
        """Return what a caller with rights for these keys sees: this snapshot, or a part of it."""
        if keys.is_all:
            return self
        part = self._parts.get(keys)
        if part is None:
            part = self.make_part(keys)
            self.store_part(part)
        return part

    def has_part(self, keys: Keys) -> bool:
        """Return whether `limited_to` takes little time. Otherwise `SnapshotSource.part` waits."""
        return keys.is_all or self._has_quick_parts or self._parts.get(keys) is not None

    @cached_property
    def _has_quick_parts(self) -> bool:
        events = sum(len(event.data.keys) for event in self.recent)
        return len(self.entries) + events <= QUICK_ENTRIES

    def make_part(self, keys: Keys) -> "Snapshot":
        return Snapshot(
            limited_environment(self.environment, keys),
            self.entries.limited_to(keys),
            self.rules.limited_to(keys),
            tuple(event.limited_to(keys) for event in self.recent),
            keys,
        )

    def store_part(self, part: "Snapshot", used_at: float | None = None) -> None:
        self._parts.store(part, time.monotonic() if used_at is None else used_at)

    def updated_part(self, part: "Snapshot", before: "Snapshot") -> "Snapshot":
        """Return `make_part`, made of that part of an earlier snapshot of the same epoch."""
        if self is before:
            return part
        keys, same_rules = part.limits, self.rules is before.rules
        events = [event for event in self.recent if event.revision > before.revision]
        recent = [*part.recent, *(event.limited_to(keys) for event in events)] if events else []
        return Snapshot(
            limited_environment(self.environment, keys),
            self.entries.updated_part(part.entries, before.entries, keys),
            part.rules if same_rules else self.rules.limited_to(keys, part.rules),
            tuple(recent[-RECENT_MAX:]),
            keys,
        )

    def _update_parts(self, before: "Snapshot", changes: int) -> None:
        """Store the parts in use of the snapshot before, with this number of changes since."""
        if "_parts" not in before.__dict__:
            return
        # A thread applies so many changes. To find them takes longer than to make the part.
        is_large = changes > QUICK_ENTRIES
        # With other sections, an update makes the whole part, perhaps on the event loop.
        if not is_large and not self._has_sections_of(before):
            return
        for part, used_at in before._parts.in_use():  # noqa: SLF001 - same class
            updated = self.make_part(part.limits) if is_large else self.updated_part(part, before)
            self.store_part(updated, used_at)

    def _has_sections_of(self, before: "Snapshot") -> bool:
        rules, earlier = self.rules, before.rules
        return all(
            len(now.sections) == len(then.sections)
            for now, then in (
                (self.entries, before.entries),
                (rules.flags, earlier.flags),
                (rules.definitions, earlier.definitions),
                (rules.states, earlier.states),
            )
        )

    def encoded_page(
        self, *, prefix: str = "", kind: str | None = None, after: str = "", limit: int
    ) -> bytes:
        """Return the JSON of a ConfigurationPage, joined from encoded entries."""
        filters = prefix, kind, after, limit
        body = self._pages.get(filters)
        if body is None:
            page = self.page(prefix=prefix, kind=kind, after=after, limit=limit)
            body = b'{"items":[%b],"next":%b,"revision":%d}' % (
                b",".join(page.items),
                msgspec.json.encode(page.next),
                self.revision,
            )
            if len(self._pages) < PAGES_MAX and len(body) <= CACHED_PAGE_BYTES_MAX:
                self._pages[filters] = body
        return body

    @cached_property
    def _pages(self) -> dict[tuple[str, str | None, str, int], bytes]:
        """The first pages that were read, by their filters."""
        return {}

    def page(self, *, prefix: str, kind: str | None, after: str, limit: int) -> Page:
        """Return the next page. It ends before its limit above `PAGE_BYTES_MAX`."""
        start = max(bisect_right(self.keys, after) if after else 0, bisect_left(self.keys, prefix))
        items: list[bytes] = []
        size = 0
        last = ""
        for position in range(start, len(self.keys)):
            key = self.keys[position]
            if not key.startswith(prefix):
                break
            entry = self.entries[key]
            if kind is not None and entry.kind != kind:
                continue
            if len(items) == limit or size >= PAGE_BYTES_MAX:
                return Page(items, last)
            items.append(entry.body)
            size += len(entry.body)
            last = key
        return Page(items, None)

    def advanced(
        self,
        environment: Environment,
        changed: Iterable[tuple[str, Configuration | None]],
        events: Sequence[ChangeEvent] = (),
        bodies: Mapping[str, bytes] = MappingProxyType({}),
    ) -> "Snapshot":
        """Return the snapshot of a later revision. `changed` has each changed key and its entry.

        `events` are the events in between, or none when there are too many. `bodies` are entries
        that are encoded already. The cost depends on the number of changed keys, not on the size
        of the snapshot.
        """
        changed = list(changed)
        put = {
            key: encode(entry, environment.epoch, bodies.get(key))
            for key, entry in changed
            if entry is not None
        }
        entries = self.entries.changed(put, [key for key, entry in changed if entry is None])
        recent = [*self.recent, *events] if events else []
        rules = self.rules.with_settings(environment.fractional, environment.metadata).with_changes(
            put=[_rule(entry) for _, entry in changed if entry is not None and _is_rule(entry)],
            removed=[key for key, entry in changed if entry is None or not _is_rule(entry)],
        )
        snapshot = Snapshot(environment, entries, rules, tuple(recent[-RECENT_MAX:]))
        snapshot._update_parts(self, len(changed))
        if self.is_digested:
            digest = self.entries_digest
            for key in dict.fromkeys(key for key, _ in changed):
                for entry in (self.entries.get(key), entries.get(key)):
                    digest ^= _digest(entry.body) if entry is not None else 0
            snapshot.__dict__["entries_digest"] = digest
        return snapshot


def build(environment: Environment, configurations: Iterable[Configuration]) -> Snapshot:
    rules = Ruleset(fractional=environment.fractional, metadata=environment.metadata)
    empty = Snapshot(environment, SharedMapping(), rules)
    return empty.advanced(environment, [(entry.key, entry) for entry in configurations])


def _is_rule(configuration: Configuration) -> bool:
    return configuration.kind in {"flag", "segment"}


def _rule(configuration: Configuration) -> Rule:
    return Rule(
        key=configuration.key,
        is_segment=configuration.kind == "segment",
        value=configuration.value,
        state=f"{configuration.version}:{configuration.updated_revision}",
    )


def _digest(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=16).digest())


def encode(configuration: Configuration, epoch: str, body: bytes | None = None) -> EncodedEntry:
    """Encode an entry. `body` is its JSON, if it is known."""
    return EncodedEntry(
        kind=sys.intern(configuration.kind),
        body=msgspec.json.encode(configuration) if body is None else body,
        etag=entity_tag(configuration.version, epoch),
    )
