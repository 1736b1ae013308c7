"""Where work on a change set runs: on the event loop when it is small, else in a thread."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from app.configuration.changes.models import Change
from app.threads import in_turn

Result = TypeVar("Result")

_QUICK_CHANGES = 100
_QUICK_BYTES = 32 * 1024


async def work_on(changes: Sequence[Change], name: str, work: Callable[[], Result]) -> Result:
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
