"""The figures that the scripts print."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.scripts.heartbeat_history import HeartbeatSample, percentile, sparkline, summary
from tests.examples import examples

START = datetime(2024, 2, 29, tzinfo=UTC)
INTERVAL = 15.0


def beat(seconds: float, latency_ms: float | None = 1.0) -> HeartbeatSample:
    return HeartbeatSample(
        at=START + timedelta(seconds=seconds), ok=latency_ms is not None, latency_ms=latency_ms
    )


@pytest.mark.parametrize(
    ("count", "share", "rank"),
    [
        (1, 0.5, 1),
        (2, 0.5, 1),
        (2, 0.95, 2),
        (3, 0.5, 2),
        (4, 0.5, 2),
        (5, 0.3, 2),
        (5, 0.4, 2),
        (20, 0.95, 19),
        (100, 0.5, 50),
        (100, 0.95, 95),
        (100, 0.99, 99),
        (101, 0.99, 100),
        (10, 0.99, 10),
        (10, 1.0, 10),
        (10, 0.0, 1),
    ],
)
def test_percentile_is_the_nearest_rank(count: int, share: float, rank: int) -> None:
    """The smallest number that is not below this share of the numbers."""
    numbers = [float(number) for number in range(1, count + 1)]

    assert percentile(numbers, share) == rank


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.5) == 0


@given(
    numbers=st.lists(st.floats(0, 1e6), min_size=1, max_size=50), share=st.sampled_from([0.5, 0.95])
)
@hypothesis_settings(max_examples=examples(100), deadline=None, derandomize=True)
def test_percentile_is_a_member_with_its_share_below(numbers: list[float], share: float) -> None:
    ordered = sorted(numbers)

    value = percentile(ordered, share)

    assert value in ordered
    assert sum(number <= value for number in ordered) >= share * len(ordered)
    assert sum(number < value for number in ordered) < share * len(ordered)


def test_summary_with_all_beats_is_100_percent() -> None:
    beats = [beat(i * INTERVAL, latency) for i, latency in enumerate((1.0, 2.0, 3.0))]

    good, missed, available, p50, p95, p99, line = summary(beats, INTERVAL)

    assert (good, missed, available) == ("3", "0", "100.00%")
    assert (p50, p95, p99) == ("2.0", "3.0", "3.0")
    assert len(line) == 48


def test_summary_of_one_beat() -> None:
    good, missed, available, *_ = summary([beat(0)], INTERVAL)

    assert (good, missed, available) == ("1", "0", "100.00%")


def test_missed_beat_lowers_availability_without_latency() -> None:
    beats = [beat(0, 4.0), beat(15, None), beat(30, 4.0), beat(45, 4.0)]

    good, missed, available, p50, *_, line = summary(beats, INTERVAL)

    assert (good, missed, available, p50) == ("3", "1", "75.00%", "4.0")
    assert line.count("×") == 1  # noqa: RUF001 - a cross is meant


def test_gap_counts_as_missed_beats() -> None:
    beats = [beat(0), beat(15), beat(75)]

    good, missed, available, *_ = summary(beats, INTERVAL)

    assert (good, missed, available) == ("3", "3", "50.00%")


def test_jitter_and_late_beat_are_no_gap() -> None:
    beats = [beat(0), beat(18), beat(30), beat(30 + 2.5 * INTERVAL)]

    good, missed, available, *_ = summary(beats, INTERVAL)

    assert (good, missed, available) == ("4", "0", "100.00%")


def test_only_missed_beats_is_0_percent() -> None:
    good, missed, available, *percentiles, line = summary([beat(0, None), beat(15, None)], INTERVAL)

    assert (good, missed, available) == ("0", "2", "0.00%")
    assert percentiles == ["0.0", "0.0", "0.0"]
    assert line.strip("× ") == ""  # noqa: RUF001 - a cross is meant


def test_sparkline_runs_from_the_first_beat_to_the_last() -> None:
    line = sparkline([beat(0, 1.0), beat(47, 8.0)])

    assert line == "▁" + " " * 46 + "█"


def test_sparkline_shows_the_highest_of_each_stretch() -> None:
    beats = [beat(second / 2, float(second % 2)) for second in range(96)]

    assert sparkline(beats) == "█" * 48


def test_sparkline_shows_a_miss_before_any_latency() -> None:
    line = sparkline([beat(0, 8.0), beat(0.1, None), beat(48, 8.0)])

    assert (line[0], line[-1]) == ("×", "█")  # noqa: RUF001 - a cross is meant


def test_sparkline_of_beats_without_latency_is_low() -> None:
    line = sparkline([beat(0, 0.0), beat(0, 0.0)])

    assert line == "▁" + " " * 47


@given(
    beats=st.lists(
        st.tuples(st.floats(0, 1e5), st.none() | st.floats(0, 1e4)), min_size=1, max_size=60
    )
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_sparkline_always_has_48_cells(beats: list[tuple[float, float | None]]) -> None:
    line = sparkline([beat(*pair) for pair in sorted(beats, key=lambda pair: pair[0])])

    assert len(line) == 48
    assert set(line) <= set(" ×▁▂▃▄▅▆▇█")  # noqa: RUF001 - a cross is meant
