"""The seconds at which outcomes change with the time.

They are known where `$flagd.timestamp`, or a sum, difference, product or quotient of it and literal
numbers, is compared with literal numbers. Any other use of the clock may change an outcome at any
second. Instants are Unix seconds.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

# The end of the year 9999: a comparison with a later time never changes.
_INSTANT_MAX = 253_402_300_800
# Far enough from 0 for an exact difference, and small enough for finite values.
_PROBE = 2**31
# A double that is offset by more seconds has an error of more than 4 ms.
_OFFSET_SECONDS_MAX = 2**44


class Clock(NamedTuple):
    """A number that depends on the time alone: `scale` times the seconds, plus `offset`."""

    scale: float
    offset: float


SECONDS = Clock(1.0, 0.0)


def linear_clock(value_at: Callable[[int], Any]) -> Clock | None:
    """Return the clock of a value that is linear in the time, None if it is too imprecise."""
    start, end = value_at(0), value_at(_PROBE)
    scale = (end - start) / _PROBE
    is_exact = math.isfinite(start) and abs(start) < abs(scale) * _OFFSET_SECONDS_MAX
    return Clock(scale, start) if is_exact and math.isfinite(scale) else None


def instants(
    clock: Clock, numbers: Iterable[float], outcome_at: Callable[[int], Any]
) -> Iterator[int]:
    """Yield the seconds at which the comparison of a clock with numbers changes its result."""
    for number in numbers:
        instant = (number - clock.offset) / clock.scale
        if not 0 <= instant <= _INSTANT_MAX:
            continue
        # Rounding may be off by one second. With == the outcome changes twice.
        nearest = math.floor(instant)
        for second in range(nearest - 1, nearest + 3):
            if outcome_at(second) is not outcome_at(second - 1):
                yield second


class _Period(NamedTuple):
    """The time from an instant, or from 0, to the next one."""

    latest: int
    until: float


class Transitions:
    """The seconds at which outcomes of many flags change.

    `is_known` is false when an outcome may also change at other times.
    """

    def __init__(self, instants_of: Sequence[Sequence[int]], *, is_known: bool) -> None:
        self.is_known = is_known
        self._instants_of = instants_of
        self._cached: tuple[_Period, ...] = ()

    def latest(self, now: float) -> int:
        """Return the latest instant up to a time, 0 when there is none.

        Streams and requests ask thousands of times a second. Streams ask about a little earlier, so
        the two last results are cached.
        """
        for latest, until in self._cached:
            if latest <= now < until:
                return latest
        period = self._period(now)
        self._cached = (period, *self._cached[:1])
        return period.latest

    def _period(self, now: float) -> _Period:
        latest, until = 0, math.inf
        for sorted_instants in self._instants_of:
            position = bisect_right(sorted_instants, now)
            if position:
                latest = max(latest, sorted_instants[position - 1])
            if position < len(sorted_instants):
                until = min(until, sorted_instants[position])
        return _Period(latest, until)
