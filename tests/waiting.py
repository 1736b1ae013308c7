"""Wait in tests. A limit is a guard against hanging, never a promise about speed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import ClientError

HANG_SECONDS = 120.0


async def until(
    condition: Callable[[], Awaitable[bool]], check: Callable[[], None] = lambda: None
) -> None:
    """Ask for a condition every 20 ms until it is true.

    A connection error counts as false. `check` runs after each false answer and may raise.
    """
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            with suppress(ClientError, OSError):
                if await condition():
                    return
            check()
            await asyncio.sleep(0.02)
