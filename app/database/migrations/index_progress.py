"""Report how far the build of an index is, read by a second connection every two seconds.

A migration of a large table can take minutes, in which the migrator's own connection is busy.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

Connect = Callable[[], psycopg.Connection[Any]]
Report = Callable[[str], None]

_POLL_SECONDS = 2.0
# The first total that is not 0 belongs to the phase.
_STATEMENT = """
select
    phase,
    case
        when lockers_total > 0 then format('%%s of %%s', lockers_done, lockers_total)
        when tuples_total > 0 then format('%%s %%%%', 100 * tuples_done / tuples_total)
        when blocks_total > 0 then format('%%s %%%%', 100 * blocks_done / blocks_total)
    end,
    nullif(current_locker_pid, 0)
from pg_stat_progress_create_index
where pid = %s
"""


@contextmanager
def index_progress(connect: Connect, pid: int, report: Report) -> Iterator[None]:
    """Report the progress of each index that the backend with this PID builds meanwhile."""
    finished = threading.Event()
    arguments = (connect, pid, report, finished)
    thread = threading.Thread(target=_watch, args=arguments, name="index-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        # The thread may wait for its connection. The migration does not wait for that.
        thread.join(_POLL_SECONDS)


def _watch(connect: Connect, pid: int, report: Report, finished: threading.Event) -> None:
    # Most migrations end before the first poll, and need no second connection.
    if finished.wait(_POLL_SECONDS):
        return
    try:
        with connect() as connection:
            while not finished.is_set():
                row = connection.execute(_STATEMENT, [pid]).fetchone()
                if row is not None:
                    report(_words(*row))
                finished.wait(_POLL_SECONDS)
    except psycopg.Error:
        return  # The migration itself reports a server that is away.


def _words(phase: str, share: str | None, locker: int | None) -> str:
    blocker = f"PID {locker}" if locker else None
    return ", ".join(filter(None, (phase, share, blocker)))
