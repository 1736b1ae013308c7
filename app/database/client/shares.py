"""Shares of the pool: the writers of one locked environment must not hold every connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.errors import Unavailable


class Shares:
    """Limits how many connections are held under one name at the same time."""

    def __init__(self, *, limit: int, wait_seconds: float) -> None:
        self._limit = limit
        self._wait_seconds = wait_seconds
        # A name is forgotten once no task holds or waits for its semaphore.
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Hold one place of a name. Raises Unavailable when none is free in time."""
        semaphore = self._semaphores.get(name)
        if semaphore is None:
            self._semaphores[name] = semaphore = asyncio.Semaphore(self._limit)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await semaphore.acquire()
        except TimeoutError:
            raise Unavailable(
                "environment_busy", "The environment is busy with other changes; try again."
            ) from None
        try:
            yield
        finally:
            semaphore.release()
