"""The capacity model, its constants and its picture."""

import math
import xml.etree.ElementTree as ET

import msgspec
import pytest

from app.scripts.capacity import curve, measured
from app.scripts.capacity.__main__ import main
from app.scripts.capacity.measured import Measured
from app.scripts.capacity.model import CapacityError, Load, plan
from app.scripts.capacity.spread import simulate
from tests.benchmarks.capacity import PAGE, PICTURE, constants_of, encoded

# Round numbers, so that a plan can be checked by hand.
ROUND = Measured(
    evaluation_us=50,
    bulk_100_us=100,
    bulk_1000_us=1_000,
    bulk_10000_us=10_000,
    write_us=1_000,
    writes_per_second=1_000,
    change_us=1_000,
    change_ms=10,
    relay_us=1_000,
    event_us=20,
    stream_kib=20,
    idle_mib=50,
    full_mib=150,
)
_REGENERATE = "run `python -m tests.benchmarks.capacity`"


def test_constants_are_those_of_the_benchmarks_page() -> None:
    constants = constants_of(PAGE.read_text(), measured.load())

    assert measured.FILE.read_bytes() == encoded(constants), _REGENERATE


def test_constants_of_missing_parts_are_the_last_ones() -> None:
    table = "| case | KiB |\n|---|---|\n| memory of one stream | 1,234.5 (≤ 20 ✗) |\n"
    page = f"### `streams`\n\nA note.\n\n{table}"

    assert constants_of(page, ROUND) == msgspec.structs.replace(ROUND, stream_kib=1234.5)


def test_stored_picture_is_drawn_from_the_constants() -> None:
    assert PICTURE.read_text() == curve.draw(measured.load()), _REGENERATE


def test_picture_has_a_title_and_stays_inside_its_frame() -> None:
    root = ET.fromstring(curve.draw(ROUND))  # noqa: S314 - our own text
    space = "{http://www.w3.org/2000/svg}"

    assert "1,000,000 streams" in (root.findtext(f"{space}title") or "")
    lines = root.findall(f".//{space}polyline")
    assert len(lines) == 9
    for line in lines:
        points = [point.split(",") for point in line.attrib["points"].split()]
        assert len(points) == len(curve.STREAMS)
        assert all(0 <= float(x) <= 250 and 0 <= float(y) <= 210 for x, y in points)


@pytest.mark.parametrize(
    ("flags", "expected"), [(1, 50), (100, 100), (550, 550), (10_000, 10_000), (20_000, 20_000)]
)
def test_bulk_cost_lies_between_the_measured_ones(flags: int, expected: float) -> None:
    assert ROUND.bulk_us(flags) == pytest.approx(expected)


def test_requests_decide_the_number_of_processes() -> None:
    # 60,000 evaluations of 50 µs are 3 cores. At 60 % these are 5 processes.
    made = plan(Load(requests=60_000, streams=0, flags=100, changes=0), ROUND)

    (tier,) = made.tiers
    assert (tier.name, tier.processes, tier.bound) == ("service", 5, "processor")
    assert tier.cores == pytest.approx(3)
    assert tier.memory_mib == pytest.approx(5 * 51)
    assert made.connections == 55


def test_streams_above_the_fan_out_get_relays() -> None:
    made = plan(Load(requests=0, streams=1_000_000, flags=100, changes=0.01), ROUND)

    service, relays = made.tiers
    assert (service.name, service.processes, service.streams) == ("service", 2, 200)
    assert (relays.name, relays.processes, relays.bound) == ("relays", 200, "streams per process")
    # Each change costs 120 µs for each client, and 1 ms in each process.
    assert relays.cores == pytest.approx(0.01 * (1_000_000 * 120e-6 + 200 * 1e-3))
    assert relays.memory_mib == pytest.approx(200 * 51 + 1_000_000 * 20 / 1024)
    assert made.connections == 22


def test_more_relays_than_the_fan_out_get_a_tier_above() -> None:
    made = plan(Load(requests=0, streams=10_000, flags=1, changes=0, fan_out=20), ROUND)

    assert [(tier.name, tier.processes) for tier in made.tiers] == [
        ("service", 2),
        ("relays of relays", 25),
        ("relays", 500),
    ]


def test_no_relays_without_a_fan_out() -> None:
    (tier,) = plan(Load(requests=0, streams=1_000_000, flags=1, changes=0, fan_out=0), ROUND).tiers

    assert (tier.name, tier.processes, tier.streams_each) == ("service", 2, 500_000)


def test_more_changes_than_a_process_can_apply_are_refused() -> None:
    with pytest.raises(CapacityError, match="--changes: must be below 600"):
        plan(Load(requests=0, streams=0, flags=1, changes=600), ROUND)


def test_spread_is_the_sum_of_the_tiers() -> None:
    made = plan(Load(requests=0, streams=1_000_000, flags=100, changes=0), ROUND)

    spread = simulate(made, ROUND)

    # 10 ms and 100 relays at 1 ms, then 10 ms and 5,000 clients at 120 µs.
    assert spread.last_ms == pytest.approx(110 + 610)
    assert spread.half_ms < spread.p99_ms < spread.last_ms
    assert spread.half_ms == pytest.approx(60 + 310, rel=0.1)
    assert simulate(made, ROUND) == spread


def test_script_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--streams", "100000", "--changes", "0.1"])

    text = capsys.readouterr().out
    assert "100,000 streams" in text
    assert "set max_connections to at least 28" in text
    assert "A change reaches half of the clients" in text


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--streams", "-1", "a whole number from 0 to 100,000,000"),
        ("--changes", "nan", "a number from 0 to 1e+06"),
        ("--flags", "0", "a whole number from 1"),
        ("--refetch", "2", "a number from 0 to 1"),
    ],
)
def test_script_refuses_a_number_outside_its_range(
    capsys: pytest.CaptureFixture[str], option: str, value: str, rule: str
) -> None:
    with pytest.raises(SystemExit):
        main([option, value])

    assert rule in capsys.readouterr().err


def test_constants_are_positive() -> None:
    values = msgspec.to_builtins(measured.load()).values()

    assert all(value > 0 and math.isfinite(value) for value in values)
