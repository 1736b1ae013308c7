"""Writes generations of the state to disk without writing unchanged entries again.

The entries of an environment are in a file of their own. A generation has the changes since then.
When they are many, the entries get another file.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from app.access.models import Token
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.snapshot import EncodedEntry, Snapshot
from app.environments.models import Environment
from app.evaluation.shared_mapping import SharedMapping

# Encrypting a portion takes about 0.1 ms, during which the event loop waits for the interpreter.
_PORTION_BYTES = 64 * 1024
# Up to this many changed entries, or this share of all, a generation has them.
_CHANGES_MAX = 50
_CHANGES_SHARE = 0.05
OLD_LISTS_SECONDS = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a generation has. `heads` are all environments, those used last first."""

    heads: Mapping[str, Environment]
    snapshots: Mapping[str, Snapshot]
    tokens: Mapping[str, Token]
    relay_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """An environment as the next generation has it, in `encoded`.

    `entries` are those of the file `base`. They are None if the environment is not in memory.
    """

    environment: Environment
    base: str
    entries: SharedMapping[EncodedEntry] | None
    encoded: bytes


class DiskWriter:
    """The state of the files of one folder. Every method blocks: call it from a thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._stored: dict[str, _Stored] = {}
        # Since when the entries on the disk have been older than the environment.
        self._behind_since: dict[str, float] = {}
        # Each change of a list writes a file, also without another file of entries.
        self._lists_due_at = 0.0

    def write(self, served: Served) -> None:
        """Write a generation. Raises OSError."""
        before = set(self._stored)
        bases = {stored.base for stored in self._stored.values()}
        parts = [
            self._encoded(head, served.snapshots.get(name)) for name, head in served.heads.items()
        ]
        self._stored = {n: s for n, s in self._stored.items() if n in served.heads}
        rest = (
            msgspec.json.encode(list(served.tokens.values())),
            msgspec.json.encode(served.relay_key),
        )
        for snapshot in served.snapshots.values():
            for list_ in snapshot.rules.lists:
                self._disk.write_list(list_)
        self._disk.write(
            [b'{"environments":[', b",".join(parts), b'],"tokens":%b,"relay_key":%b}' % rest]
        )
        if before - set(self._stored):
            # A later start must not serve a deleted environment.
            self._disk.remove_older()
        if {stored.base for stored in self._stored.values()} != bases:
            self._disk.remove_unused()
        if time.monotonic() >= self._lists_due_at:
            self._disk.remove_old_lists()
            self._lists_due_at = time.monotonic() + OLD_LISTS_SECONDS

    def missing(self, served: Served) -> Sequence[str]:
        """Return the environments whose entries on the disk are older, and not in memory."""
        return [
            name
            for name, head in served.heads.items()
            if name not in served.snapshots
            and ((stored := self._stored.get(name)) is None or stored.environment != head)
        ]

    def write_lines(self, environment: Environment, lines: Sequence[bytes]) -> None:
        """Write the entries of an environment that is not in memory. Raises OSError."""
        self._store(environment, lines, None)

    def _encoded(self, head: Environment, snapshot: Snapshot | None) -> bytes:
        """Return an environment as JSON, after its entries were written if necessary."""
        name, stored = head.name, self._stored.get(head.name)
        if snapshot is None:
            return self._encoded_absent(head, stored)
        self._behind_since.pop(name, None)
        environment = snapshot.environment
        if stored is not None and stored.environment == environment:
            return stored.encoded
        changes = None
        if stored is not None and stored.entries is not None:
            changes = snapshot.entries.changes_since(stored.entries)
        if stored is None or changes is None or _are_many(changes, len(snapshot.entries)):
            bodies = (entry.body for entry in snapshot.entries.values())
            return self._store(environment, bodies, snapshot.entries).encoded
        put, removed = changes
        encoded = _encode(environment, stored.base, [entry.body for entry in put.values()], removed)
        self._stored[name] = _Stored(
            environment=environment, base=stored.base, entries=stored.entries, encoded=encoded
        )
        return encoded

    def _encoded_absent(self, head: Environment, stored: _Stored | None) -> bytes:
        base = _base_name(head)
        if stored is None and self._disk.has_entries(base):
            stored = self._stored[head.name] = _Stored(
                environment=head, base=base, entries=None, encoded=_encode(head, base)
            )
        if stored is None:
            return _encode(head, None)
        if stored.entries is not None:
            # They would keep the dropped snapshot in memory.
            stored = self._stored[head.name] = replace(stored, entries=None)
        if stored.environment == head:
            self._behind_since.pop(head.name, None)
            return stored.encoded
        since = self._behind_since.setdefault(head.name, time.time())
        return b'{"behind_since":%b,%b' % (msgspec.json.encode(since), stored.encoded[1:])

    def _store(
        self,
        environment: Environment,
        bodies: Iterable[bytes],
        entries: SharedMapping[EncodedEntry] | None,
    ) -> _Stored:
        base = _base_name(environment)
        if not self._disk.has_entries(base):
            self._disk.write_entries(base, _portions(bodies))
        stored = self._stored[environment.name] = _Stored(
            environment=environment, base=base, entries=entries, encoded=_encode(environment, base)
        )
        return stored


def _base_name(environment: Environment) -> str:
    """Return a name that no other state has: a revision never changes within its epoch."""
    return f"{environment.name}.{environment.epoch}.{environment.revision}"


def _are_many(changes: tuple[Mapping[str, EncodedEntry], Sequence[str]], entries: int) -> bool:
    put, removed = changes
    return len(put) + len(removed) > max(_CHANGES_MAX, entries * _CHANGES_SHARE)


def _encode(
    environment: Environment,
    base: str | None,
    bodies: Sequence[bytes] = (),
    removed: Sequence[str] = (),
) -> bytes:
    return b'{"environment":%b,"base":%b,"removed":%b,"entries":[%b]}' % (
        msgspec.json.encode(environment),
        msgspec.json.encode(base),
        msgspec.json.encode(removed),
        b",".join(bodies),
    )


def _portions(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bodies in lines, in portions of at least `_PORTION_BYTES`."""
    portion: list[bytes] = []
    size = 0
    for body in bodies:
        portion += (body, b"\n")
        size += len(body)
        if size >= _PORTION_BYTES:
            yield b"".join(portion)
            portion, size = [], 0
    yield b"".join(portion)
