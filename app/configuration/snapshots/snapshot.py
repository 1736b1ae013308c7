"""One environment at one revision. Entries are encoded once, when they come in, and kept as bytes.

Decoded values would be three times the size, and a dozen objects for each entry that the garbage
collector walks.

A snapshot is never changed: the next one shares all entries that stayed the same. Whoever holds one
answers from a single moment, however long that takes.
"""

import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from app import VERSION
from app.configuration.snapshots.change_event import ChangeEvent
from app.environments.models import Environment
from app.evaluation.ruleset import Rule, Ruleset
from app.http.headers import entity_tag, header_lines, revision_header

# Events kept for streams that are a little behind; older ones are read from the history.
RECENT_MAX = 256
PAGE_BYTES_MAX = 4 * 1024 * 1024


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry as it is answered. `sealed` is there for a masked secret, whose value is null.

    `id` is of the entry from its creation to its deletion; absent where a past one is gone.
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
    """An entry as its answer: the body, the entity tag, and the head of each kind of answer."""

    kind: str
    body: bytes
    etag: str
    head: bytes
    head_not_modified: bytes

    @property
    def configuration(self) -> Configuration:
        return msgspec.json.decode(self.body, type=Configuration)


@dataclass(frozen=True, slots=True)
class Page:
    """Encoded entries in the order of their keys; `next` is the key to go on after."""

    items: Sequence[bytes]
    next: str | None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """`keys` are those of `entries`, in order; `rules` the flags and segments, compiled; `recent`
    the last events, without gaps.
    """

    environment: Environment
    entries: Mapping[str, EncodedEntry]
    keys: Sequence[str]
    rules: Ruleset
    recent: tuple[ChangeEvent, ...] = ()

    @cached_property
    def head(self) -> bytes:
        """The header line that says which moment an answer is from."""
        return header_lines(revision_header(self.epoch, self.revision))

    @cached_property
    def rules_state(self) -> bytes:
        """What names the state of all rules and of what their outcomes say of the flag set.

        And the release: what one has mended is no answer that another has given.
        """
        rules = self.rules
        return f"{VERSION}/{self.epoch}{rules.fractional}".encode() + rules.digest.to_bytes(16)

    @property
    def revision(self) -> int:
        return self.environment.revision

    @property
    def epoch(self) -> str:
        return self.environment.epoch

    def page(self, *, prefix: str, kind: str | None, after: str, limit: int) -> Page:
        """Return the next page; one of large entries ends before its limit."""
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
    ) -> "Snapshot":
        """Return the snapshot of a later revision, given each key touched since and what is there.

        `events` are those in between, or none when there are too many to keep.

        Copying ten thousand entries takes a fraction of a millisecond, and leaves whoever reads the
        old one undisturbed.
        """
        entries = dict(self.entries)
        keys = list(self.keys)
        changed = list(changed)
        for key, configuration in changed:
            if configuration is None:
                if entries.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
                continue
            if key not in entries:
                insort(keys, key)
            entries[key] = encode(configuration, environment.epoch)
        whole = [*self.recent, *events] if events else []
        rules = self.rules.with_settings(environment.fractional, environment.metadata).with_changes(
            put=[_rule(each) for _, each in changed if each is not None and _is_rule(each)],
            removed=[key for key, each in changed if each is None or not _is_rule(each)],
        )
        return Snapshot(environment, entries, keys, rules, tuple(whole[-RECENT_MAX:]))


def build(environment: Environment, configurations: Iterable[Configuration]) -> Snapshot:
    """Return the snapshot of an environment with these entries."""
    rules = Ruleset(fractional=environment.fractional, metadata=environment.metadata)
    empty = Snapshot(environment, {}, [], rules)
    return empty.advanced(environment, [(each.key, each) for each in configurations])


def _is_rule(configuration: Configuration) -> bool:
    return configuration.kind in {"flag", "segment"}


def _rule(configuration: Configuration) -> Rule:
    return Rule(
        key=configuration.key,
        is_segment=configuration.kind == "segment",
        value=configuration.value,
        state=f"{configuration.version}:{configuration.updated_revision}",
    )


def encode(configuration: Configuration, epoch: str) -> EncodedEntry:
    body = msgspec.json.encode(configuration)
    etag = entity_tag(configuration.version, epoch)
    tag_line = f"ETag: {etag}\r\n".encode()
    return EncodedEntry(
        kind=sys.intern(configuration.kind),
        body=body,
        etag=etag,
        head=b"Content-Type: application/json\r\nContent-Length: %d\r\n%b" % (len(body), tag_line),
        head_not_modified=tag_line,
    )
