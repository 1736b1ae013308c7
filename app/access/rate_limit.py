"""Limits on failed attempts: whoever shows too many bad tokens is told to come back later.

Nobody guesses 256 bits; what is limited is the noise of those who try. So a good token is let in
from anywhere at any time: else a stranger behind the same address could lock a service out. For the
same reason a request without any token is no attempt.
"""

import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from app.errors import LimitExceeded
from app.http.client_address import client_prefix
from app.log import logger

log = logger(__name__)

ATTEMPTS_MAX = 10
WINDOW_SECONDS = 60.0
PENALTY_SECONDS = 60.0
PENALTY_SECONDS_MAX = 900.0
# About 20 MB when it is full. Then whoever failed longest ago is forgotten.
PREFIXES_MAX = 65_536


@dataclass(slots=True)
class _Record:
    """The failures of one prefix; times are of the monotonic clock."""

    window_ends: float
    attempts: int = 0
    barred_until: float = 0.0
    penalty_seconds: float = 0.0


class RateLimit:
    """Failed attempts of this process by client prefix: never by anything that was shown."""

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def count(self, address: str) -> None:
        """Count one failure. Raises LimitExceeded when there have been too many."""
        prefix, now = client_prefix(address), time.monotonic()
        record = self._records.get(prefix)
        if record is None:
            record = self._records[prefix] = _Record(window_ends=now + WINDOW_SECONDS)
            if len(self._records) > PREFIXES_MAX:
                self._records.popitem(last=False)
        self._records.move_to_end(prefix)
        if now < record.barred_until:
            raise _exceeded(record.barred_until - now)
        if now >= record.window_ends:
            record.attempts, record.window_ends = 0, now + WINDOW_SECONDS
        record.attempts += 1
        if record.attempts > ATTEMPTS_MAX:
            _bar(record, now)
            log.warning("attempts_limited", client=address, seconds=record.penalty_seconds)
            raise _exceeded(record.penalty_seconds)

    def forget(self) -> None:
        self._records.clear()


RATE_LIMIT: web.AppKey[RateLimit] = web.AppKey("failures", RateLimit)


def _bar(record: _Record, now: float) -> None:
    """Bar the prefix, for twice as long as the last time unless it kept quiet since."""
    if now - record.barred_until > PENALTY_SECONDS_MAX:
        record.penalty_seconds = 0.0
    doubled = 2 * record.penalty_seconds or PENALTY_SECONDS
    record.penalty_seconds = min(doubled, PENALTY_SECONDS_MAX)
    record.barred_until = now + record.penalty_seconds
    # What comes after has a new window.
    record.window_ends = record.barred_until


def _exceeded(seconds: float) -> LimitExceeded:
    return LimitExceeded(
        "attempts_exceeded",
        "Too many bad tokens have come from this address; a good one is still let in.",
        retry_after_seconds=max(1, math.ceil(seconds)),
    )
