"""The last known state: served from disk while the start waits for the database."""

import asyncio
from contextlib import suppress

from app.configuration.snapshots.disk_copy import DiskCopy
from app.http.lifecycle import Lifecycle

# A start that takes longer waits for something, though nothing has failed yet.
_PROMPT_SECONDS = 1.0


async def serve_last_known(keeper: DiskCopy, lifecycle: Lifecycle, held_up: asyncio.Event) -> None:
    """Serve from disk once the start is held up. Before that the database may still be quicker."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PROMPT_SECONDS):
            await held_up.wait()
    if await keeper.serve_last_known():
        lifecycle.serving.set()
