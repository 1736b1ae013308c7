"""The socket between a worker and its supervisor."""

import asyncio
import os
import socket
import subprocess
import sys

from app.server.workers import Worker, beat_lifeline
from tests.waiting import HANG_SECONDS

# In another process: a blocking write would block the event loop and its timeouts.
_BEATING = """
import asyncio, sys
from app.server.workers import Worker, beat_lifeline

async def main():
    beating = asyncio.create_task(beat_lifeline(Worker(lifeline=int(sys.argv[1]))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    print("turns", beating.done())
    beating.cancel()

asyncio.run(main())
"""


def test_beat_to_a_suspended_supervisor_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        try:
            while True:
                os.write(theirs.fileno(), b"." * 4096)
        except BlockingIOError:
            theirs.setblocking(True)

        completed = subprocess.run(
            [sys.executable, "-c", _BEATING, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=True,
        )

    assert completed.stdout == "turns False\n"


async def test_beat_reaches_the_supervisor() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        beating = asyncio.create_task(beat_lifeline(Worker(lifeline=theirs.fileno())))
        received = await asyncio.to_thread(ours.recv, 1)
        beating.cancel()

    assert received == b"."
