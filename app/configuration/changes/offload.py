"""Where work on a change set runs: on the event loop when it is small, else in a thread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from app.configuration.changes.models import Change
from app.database.client.session_setup import decode_json
from app.threads import in_thread, in_turn

Result = TypeVar("Result")

_QUICK_CHANGES = 100
_QUICK_BYTES = 32 * 1024
_QUICK_CHARACTERS = 64 * 1024


async def run_by_size(changes: Sequence[Change], name: str, work: Callable[[], Result]) -> Result:
    """Return the result of the work. Raises Unavailable when others take too long."""
    return work() if _are_small(changes) else await in_turn(name, work)


def size_of(change: Change) -> int:
    """Return how many bytes of JSON a change carries, roughly."""
    sides = (change.before.content, change.after)
    return sum(
        len(msgspec.json.encode(each.value)) + len(each.sealed.content if each.sealed else b"")
        for each in sides
        if each is not None
    )


def _are_small(changes: Sequence[Change]) -> bool:
    size = 0
    for change in changes if len(changes) <= _QUICK_CHANGES else ():
        size += size_of(change)
        if size > _QUICK_BYTES:
            return False
    return len(changes) <= _QUICK_CHANGES


class AbandonedError(Exception):
    """The request has ended, so nothing needs the rest of the work."""


class StoredValues(Mapping[str, Any]):
    """Values by key, as PostgreSQL writes them, each decoded whenever it is read.

    A segment may be in ten thousand flags. Decoded at once, they would block the event loop and
    take much memory, and the garbage collector would block every thread to visit them.
    """

    def __init__(self, texts: Mapping[str, str], others: Mapping[str, Any] | None = None) -> None:
        """Hold values as texts, and others that are decoded already."""
        self._texts = texts
        self._others = others or {}
        self._is_closed = False

    def close(self) -> None:
        """End the work of a thread, which cannot be cancelled, at the next value that it reads."""
        self._is_closed = True

    def __getitem__(self, key: str) -> Any:
        if self._is_closed:
            raise AbandonedError
        text = self._texts.get(key)
        return self._others[key] if text is None else decode_json(text.encode())

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        yield from self._texts

    def __len__(self) -> int:
        return len(self._texts) + len(self._others)

    async def work(self, name: str, work: Callable[[], Result]) -> Result:
        """Return the result of work on the values, which waits for its turn if they are large."""
        size = sum(map(len, self._texts.values()))
        return await (in_turn if size > _QUICK_CHARACTERS else in_thread)(name, work)
