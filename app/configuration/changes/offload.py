"""Run work on a change set by its size: small work on the event loop, other work in a thread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from app.configuration.changes.models import Change
from app.database.client.session_setup import decode_json
from app.threads import in_thread, in_turn

Result = TypeVar("Result")

_QUICK_CHANGES = 100
_QUICK_BYTES = 32 * 1024
_QUICK_CHARACTERS = 64 * 1024


async def run_by_size(changes: Sequence[Change], name: str, work: Callable[[], Result]) -> Result:
    """Run work on changes, in a thread when they are large. Raises Unavailable."""
    return work() if _are_small(changes) else await in_turn(name, work)


async def run_by_count(changes: Sequence[Change], name: str, work: Callable[[], Result]) -> Result:
    """Run work whose cost does not depend on the values, as `run_by_size` does."""
    return work() if len(changes) <= _QUICK_CHANGES else await in_turn(name, work)


def _are_small(changes: Sequence[Change]) -> bool:
    size = 0
    for change in changes if len(changes) <= _QUICK_CHANGES else ():
        size += change.size
        if size > _QUICK_BYTES:
            return False
    return len(changes) <= _QUICK_CHANGES


class AbandonedError(Exception):
    """The request has ended, so the rest of the work is not needed."""


class StoredValues(Mapping[str, Any]):
    """Stored JSON values by key. Each is decoded when it is read.

    A segment may be used by 10,000 flags. Decoding all of them at once would block the event loop,
    take much memory, and give the garbage collector much to visit.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        others: Mapping[str, Any] | None = None,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        """Take values as JSON text, and others that are already decoded.

        `convert` is applied to each value that is decoded.
        """
        self._texts = texts
        self._convert = convert
        self._others = others or {}
        self._is_closed = False

    def close(self) -> None:
        """Stop the thread at the next value that it reads, because a thread cannot be cancelled."""
        self._is_closed = True

    def __getitem__(self, key: str) -> Any:
        if self._is_closed:
            raise AbandonedError
        text = self._texts.get(key)
        if text is None:
            return self._others[key]
        value = decode_json(text.encode())
        return value if self._convert is None else self._convert(value)

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        yield from self._texts

    def __len__(self) -> int:
        return len(self._texts) + len(self._others)

    async def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Run work on the values in a thread; large work waits for its turn."""
        size = sum(map(len, self._texts.values()))
        return await (in_turn if size > _QUICK_CHARACTERS else in_thread)(name, work)
