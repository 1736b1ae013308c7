"""Shares of the pool: writers of one environment must not use every connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.errors import Unavailable


class Shares:
    """Limits the connections in use per name."""

    def __init__(self, *, limit: int, wait_seconds: float) -> None:
        self._limit = limit
        self._wait_seconds = wait_seconds
        # A semaphore is removed when no task holds it or waits for it.
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Hold one share of a name. Raises Unavailable if none is free in time."""
        semaphore = self._semaphores.get(name)
        if semaphore is None:
            self._semaphores[name] = semaphore = asyncio.Semaphore(self._limit)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await semaphore.acquire()
        except TimeoutError:
            raise Unavailable(
                "environment_busy", "The environment is busy with other changes. Try again."
            ) from None
        try:
            yield
        finally:
            semaphore.release()
