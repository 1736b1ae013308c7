"""What the doctor makes of a figure, and of several findings together."""

from pathlib import Path

import pytest

from app.doctor.findings import Verdict, absent, failed, first_few, passed, warned, worst
from app.doctor.machine import room_finding
from app.doctor.server import clock_finding

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.0, Verdict.PASS),
        (-0.9, Verdict.PASS),
        (1.1, Verdict.WARN),
        (-29.0, Verdict.WARN),
        (31.0, Verdict.FAIL),
        (-3_600.0, Verdict.FAIL),
    ],
)
def test_a_clock_is_judged_by_its_distance_in_either_direction(
    difference: float, verdict: Verdict
) -> None:
    found = clock_finding(difference, 0.002)

    assert found.verdict is verdict
    assert f"{difference * 1000:+.1f} ms from ours, by a round trip of 2.0 ms" == found.text


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(255, Verdict.FAIL), (256, Verdict.WARN), (2047, Verdict.WARN), (2048, Verdict.PASS)],
)
def test_a_disk_is_judged_by_what_is_left(free: int, verdict: Verdict) -> None:
    found = room_finding(free * MIB, 10_000 * MIB, Path("/data"))

    assert (found.verdict, found.text) == (verdict, f"{free} MiB free of 10000 in /data")


def test_the_worst_counts_and_what_cannot_be_looked_at_does_not() -> None:
    fine, unseen = passed("a", "fine"), absent("b", "there is none")

    assert worst([]) is worst([fine, unseen]) is Verdict.PASS
    assert worst([fine, warned("c", "odd"), unseen]) is Verdict.WARN
    assert worst([warned("c", "odd"), failed("d", "broken"), fine]) is Verdict.FAIL
    assert unseen.text == "because there is none"


def test_of_many_that_are_named_the_first_are() -> None:
    assert first_few(["a", "b"]) == "a, b"
    assert first_few([*"abcdefgh"], "; ") == "a; b; c; d; e; and 3 more"
