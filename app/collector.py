"""The collector of cyclic garbage, kept from walking through large data.

A full collection walks through every object that is not frozen, and nothing else runs meanwhile:
half a second for ten thousand flags. It finds nothing in them, since data refers in no circle. So
the automatic collections are of young objects alone, and a full one runs each minute, while no
request holds large data.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

_PAUSE_SECONDS = 60.0
# Then a full collection runs in any case.
_POSTPONED_MAX = 10
_NEVER = 2**31 - 1

_holders = 0


def start() -> None:
    """Freeze what has been loaded, and end the automatic full collections."""
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)


async def run() -> None:
    """Collect each minute."""
    postponed = 0
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        postponed = postponed + 1 if _holders and postponed < _POSTPONED_MAX else 0
        if not postponed:
            gc.collect()


@contextmanager
def large_data() -> Iterator[None]:
    """Say that a request holds large data. For the event loop alone."""
    global _holders  # noqa: PLW0603 - the collector is the process's, too
    _holders += 1
    try:
        yield
    finally:
        _holders -= 1


def frozen(make: Callable[[], Result]) -> Result:
    """Return what is made, frozen: no collection walks through it. For a thread.

    Everything else that is alive is frozen too. It was collected just before, apart from old
    garbage while a request holds large data.
    """
    gc.collect(1 if _holders else 2)
    gc.disable()
    try:
        made = make()
        gc.freeze()
    finally:
        gc.enable()
    return made
