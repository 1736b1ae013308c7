"""The rate limit: its groups, its penalties and its memory."""

import tracemalloc
from ipaddress import IPv6Address

import pytest

from app.access import rate_limit as failures
from app.access.rate_limit import ATTEMPTS_MAX, PREFIXES_MAX, RateLimit
from app.errors import LimitExceeded
from app.http.client_address import client_prefix


class Clock:
    """A monotonic clock that a test advances."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(failures, "time", clock)
    return clock


def barred(counted: RateLimit, address: str = "192.0.2.1") -> int | None:
    """Fail once. Return the seconds to wait, or None within the limit."""
    try:
        counted.count(address)
    except LimitExceeded as error:
        return error.retry_after_seconds
    return None


def fail_until_barred(counted: RateLimit, address: str = "192.0.2.1") -> tuple[int, int]:
    """Return the number of failures before the penalty, and its seconds."""
    for passed in range(1_000):
        seconds = barred(counted, address)
        if seconds is not None:
            return passed, seconds
    raise AssertionError("never barred")


def test_ten_failures_a_minute_pass_and_no_more(clock: Clock) -> None:
    counted = RateLimit()

    assert fail_until_barred(counted) == (ATTEMPTS_MAX, 60)
    clock.now += 59.5
    assert barred(counted) == 1
    clock.now += 0.5
    assert barred(counted) is None


def test_few_failures_per_minute_are_never_limited(clock: Clock) -> None:
    counted = RateLimit()

    for _ in range(100):
        assert [barred(counted) for _ in range(ATTEMPTS_MAX)] == [None] * ATTEMPTS_MAX
        clock.now += 60


def test_each_time_is_twice_as_long_up_to_a_quarter_of_an_hour(clock: Clock) -> None:
    counted = RateLimit()
    times = []

    for _ in range(7):
        passed, seconds = fail_until_barred(counted)
        assert passed == ATTEMPTS_MAX
        times.append(seconds)
        clock.now += seconds

    assert times == [60, 120, 240, 480, 900, 900, 900]


def test_attempts_while_limited_do_not_extend_the_limit(clock: Clock) -> None:
    """A client that waits for `Retry-After` is not blocked."""
    counted = RateLimit()
    fail_until_barred(counted)

    for _ in range(60):
        assert barred(counted) is not None
        clock.now += 1

    assert barred(counted) is None


def test_pause_resets_the_failure_count(clock: Clock) -> None:
    counted = RateLimit()
    for _ in range(3):
        clock.now += fail_until_barred(counted)[1]

    clock.now += 901

    assert fail_until_barred(counted) == (ATTEMPTS_MAX, 60)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("", "192.0.2.1", False),
    ],
)
def test_clients_are_counted_by_address_prefix(one: str, other: str, *, together: bool) -> None:
    assert (client_prefix(one) == client_prefix(other)) is together


def test_one_prefix_does_not_bar_another(clock: Clock) -> None:
    assert clock.now
    counted = RateLimit()
    fail_until_barred(counted, "192.0.2.1")

    assert barred(counted, "192.0.2.2") is None
    assert barred(counted, "2001:db8::1") is None


def test_failure_memory_evicts_the_oldest_client(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clock.now
    most = 1_000
    monkeypatch.setattr(failures, "PREFIXES_MAX", most)
    counted = RateLimit()
    fail_until_barred(counted, "192.0.2.1")
    fail_until_barred(counted, "192.0.2.2")
    tracemalloc.start()

    for number in range(most - 2):
        counted.count(str(IPv6Address(number << 64)))
    barred(counted, "192.0.2.1")
    for number in range(most, most + 10):
        counted.count(str(IPv6Address(number << 64)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used / most * PREFIXES_MAX < 24 * 1024 * 1024
    assert barred(counted, "192.0.2.1") is not None
    assert barred(counted, "192.0.2.2") is None
