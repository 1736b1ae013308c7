"""The rate limit of invalid tokens: 10 per minute and client prefix, then a penalty.

A secret of 256 bits cannot be guessed, so the limit only reduces noise. A valid token is always
accepted: otherwise a stranger behind the same address could lock a service out. For the same
reason, a request without a token does not count.
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
# About 20 MB. Beyond that, the prefix with the oldest failure is dropped.
PREFIXES_MAX = 65_536


@dataclass(slots=True)
class _Record:
    """The failures of one prefix. Times are of the monotonic clock."""

    window_ends: float
    attempts: int = 0
    blocked_until: float = 0.0
    penalty_seconds: float = 0.0


class RateLimit:
    """Counts the invalid tokens of each client prefix in this process."""

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def count(self, address: str) -> None:
        """Count one invalid token. Raises LimitExceeded above the limit."""
        prefix, now = client_prefix(address), time.monotonic()
        record = self._records.get(prefix)
        if record is None:
            record = self._records[prefix] = _Record(window_ends=now + WINDOW_SECONDS)
            if len(self._records) > PREFIXES_MAX:
                self._records.popitem(last=False)
        self._records.move_to_end(prefix)
        if now < record.blocked_until:
            raise _exceeded(record.blocked_until - now)
        if now >= record.window_ends:
            record.attempts, record.window_ends = 0, now + WINDOW_SECONDS
        record.attempts += 1
        if record.attempts > ATTEMPTS_MAX:
            _block(record, now)
            log.warning("attempts_limited", client=address, seconds=record.penalty_seconds)
            raise _exceeded(record.penalty_seconds)

    def forget(self) -> None:
        self._records.clear()


RATE_LIMIT: web.AppKey[RateLimit] = web.AppKey("rate_limit", RateLimit)


def _block(record: _Record, now: float) -> None:
    """Block the prefix: 60 s at first, then twice as long each time, up to 900 s."""
    if now - record.blocked_until > PENALTY_SECONDS_MAX:
        record.penalty_seconds = 0.0
    doubled = 2 * record.penalty_seconds or PENALTY_SECONDS
    record.penalty_seconds = min(doubled, PENALTY_SECONDS_MAX)
    record.blocked_until = now + record.penalty_seconds
    # After the penalty a new window begins.
    record.window_ends = record.blocked_until


def _exceeded(seconds: float) -> LimitExceeded:
    return LimitExceeded(
        "attempts_exceeded",
        "Too many invalid tokens came from this address. A valid token is still accepted.",
        retry_after_seconds=max(1, math.ceil(seconds)),
    )
