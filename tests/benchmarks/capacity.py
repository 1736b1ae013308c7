"""Copy constants of the capacity model from `docs/benchmarks.md`, and draw its picture.

`python -m tests.benchmarks.capacity` does both. `tests.benchmarks.document` ends with it.
A constant that the page does not have retains its last value.
"""

import re
from collections.abc import Mapping

import msgspec

from app.scripts.capacity import curve, measured
from app.scripts.capacity.measured import Measured
from tests.benchmarks.figures import P50, PROCESSOR, RATE
from tests.paths import ROOT

PAGE = ROOT / "docs/benchmarks.md"
PICTURE = ROOT / "docs/images/capacity.svg"
# The part, the case and the unit of each constant.
_SOURCES: Mapping[str, tuple[str, str, str]] = {
    "evaluation_us": ("ofrep", "one flag", PROCESSOR),
    "bulk_100_us": ("ofrep", "100 flags, half splits", PROCESSOR),
    "bulk_1000_us": ("ofrep", "1,000 flags, half splits", PROCESSOR),
    "bulk_10000_us": ("ofrep", "10,000 flags, half splits", PROCESSOR),
    "write_us": ("puts", "PUT one entry, 16 at once", PROCESSOR),
    "writes_per_second": ("puts", "PUT one entry, 16 at once", RATE),
    "change_us": ("changes", "one change, at a replica", PROCESSOR),
    "change_ms": ("changes", "PUT until another replica serves it", P50),
    "relay_us": ("fan_out", "service, one change", "ms of processor"),
    "event_us": ("streams", "one event to one stream", PROCESSOR),
    "stream_kib": ("streams", "memory of one stream", "KiB"),
    "idle_mib": ("footprint", "memory, idle", "MiB"),
    "full_mib": ("footprint", "memory, 10,000 flags", "MiB"),
}
# The service followed a change for 20 relays.
_FACTORS = {"relay_us": 1000 / 20}
_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")


def constants_of(page: str, last: Measured) -> Measured:
    """Return the constants in the tables of the page, and the last ones of the others."""
    values = {}
    for name, (part, case, unit) in _SOURCES.items():
        number = _NUMBER.match(_cells(page, part, case).get(unit, ""))
        if number is not None:
            values[name] = float(number[0].replace(",", "")) * _FACTORS.get(name, 1)
    return msgspec.structs.replace(last, **values)


def _cells(page: str, part: str, case: str) -> Mapping[str, str]:
    """Return the cells of a case by unit; none if the part was not measured."""
    section = page.partition(f"### `{part}`\n")[2].partition("\n#")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return next((dict(zip(rows[0], row, strict=True)) for row in rows if row[0] == case), {})


def encoded(constants: Measured) -> bytes:
    return msgspec.json.format(msgspec.json.encode(constants), indent=2) + b"\n"


def main() -> None:
    """Write the constants and the picture."""
    constants = constants_of(PAGE.read_text(), measured.load())
    measured.FILE.write_bytes(encoded(constants))
    PICTURE.write_text(curve.draw(constants))


if __name__ == "__main__":
    main()
