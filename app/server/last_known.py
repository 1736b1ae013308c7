"""The last known state: served from disk while the start waits for the database."""

import asyncio

from app.configuration.snapshots.disk_copy import DiskCopy
from app.http.lifecycle import Lifecycle
from app.tasks import wait_at_most

# A start that takes longer waits for something, though nothing has failed yet.
_PROMPT_SECONDS = 1.0


async def serve_last_known(keeper: DiskCopy, lifecycle: Lifecycle, held_up: asyncio.Event) -> None:
    """Serve from disk once the start is held up. Before that the database may still be quicker."""
    await wait_at_most(_PROMPT_SECONDS, held_up)
    if await keeper.serve_last_known():
        lifecycle.serving.set()
