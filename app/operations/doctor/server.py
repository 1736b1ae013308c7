"""The server itself: whether its clock is ours, and whether what it acknowledges is on the disk."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from app.database import sql
from app.operations.doctor.findings import Finding, failed, passed, warned
from app.operations.doctor.patient import Patient

# A revocation holds within a second everywhere, and an expiry is judged by the clock of whoever is
# asked: beyond a second they disagree by more than that promise.
CLOCK_WARN_SECONDS = 1.0
# Two heartbeats: an instance would look as if it had missed them, or rows as if from the future.
CLOCK_FAIL_SECONDS = 30.0
_ROUNDS = 5


@dataclass(frozen=True)
class _Wanted:
    """A setting, the values that keep a promise, and what is so without them."""

    name: str
    without: str
    good: frozenset[str] = frozenset({"on"})
    is_needed: bool = True


_WANTED = (
    _Wanted("fsync", "a crash of the machine may lose or break everything"),
    _Wanted("full_page_writes", "a crash of the machine may break tables"),
    _Wanted(
        "synchronous_commit",
        "what was acknowledged may not have been committed",
        frozenset({"on", "local", "remote_write", "remote_apply"}),
    ),
    _Wanted("data_checksums", "a disk that changes data is not noticed", is_needed=False),
)


async def look_at_clock(patient: Patient) -> Sequence[Finding]:
    """Compare the clocks, by the quickest of several rounds: the answer is from its middle."""
    rounds: list[tuple[float, float]] = []
    async with patient.database.connection() as connection:
        for _ in range(_ROUNDS):
            before = time.time()
            theirs = await sql.get_server_time(connection)
            after = time.time()
            rounds.append((after - before, theirs.timestamp() - (before + after) / 2))
    trip, difference = min(rounds, key=lambda each: each[0])
    return [clock_finding(difference, trip)]


def clock_finding(difference: float, trip: float) -> Finding:
    """Judge a difference in seconds, which is known to half of the round trip."""
    text = f"{difference * 1000:+.1f} ms from ours, by a round trip of {trip * 1000:.1f} ms"
    if abs(difference) > CLOCK_FAIL_SECONDS:
        return failed("clock", text)
    if abs(difference) > CLOCK_WARN_SECONDS:
        return warned("clock", text)
    return passed("clock", text)


async def look_at_settings(patient: Patient) -> Sequence[Finding]:
    """Look at the settings without which an acknowledged write is not a safe one."""
    async with patient.database.connection() as connection:
        rows = sql.list_server_settings(connection, names=[wanted.name for wanted in _WANTED])
        found = {row["name"]: row["setting"] async for row in rows}
    return [_judged(wanted, found.get(wanted.name, "unknown")) for wanted in _WANTED]


def _judged(wanted: _Wanted, value: str) -> Finding:
    if value in wanted.good:
        return passed(wanted.name, value)
    return (failed if wanted.is_needed else warned)(wanted.name, f"{value}: {wanted.without}")
