"""The last known state: served from disk while the start waits for the database."""

import asyncio

from app.configuration.snapshots.disk_copy import DiskCopy
from app.http.lifecycle import Lifecycle
from app.tasks import wait_at_most

# A start that takes longer than this is waiting, even if no step has failed yet.
_PROMPT_SECONDS = 1.0


async def serve_last_known(
    disk_copy: DiskCopy, lifecycle: Lifecycle, delayed: asyncio.Event
) -> None:
    """Serve the state on disk once the start is delayed. A fast start needs only the database."""
    await wait_at_most(_PROMPT_SECONDS, delayed)
    if await disk_copy.serve_last_known():
        lifecycle.serving.set()
