"""The measured constants of the model. `docs/benchmarks.md` is their source.

`python -m tests.benchmarks.capacity` copies them from that page into `measured.json`.
"""

from pathlib import Path

import msgspec

FILE = Path(__file__).with_name("measured.json")
_FULL_FLAGS = 10_000


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Processor time in µs, memory in KiB and MiB, as the names say."""

    evaluation_us: float
    bulk_100_us: float
    bulk_1000_us: float
    bulk_10000_us: float
    write_us: float
    writes_per_second: float
    change_us: float
    change_ms: float
    relay_us: float
    event_us: float
    stream_kib: float
    idle_mib: float
    full_mib: float

    def bulk_us(self, flags: int) -> float:
        """Return the processor time for all flags: lines between the measured numbers of flags."""
        points = (
            (1, self.evaluation_us),
            (100, self.bulk_100_us),
            (1_000, self.bulk_1000_us),
            (_FULL_FLAGS, self.bulk_10000_us),
        )
        # Above the last number, the last line continues.
        upper = next((i for i in range(1, len(points)) if flags <= points[i][0]), len(points) - 1)
        (before, least), (after, most) = points[upper - 1], points[upper]
        return least + (flags - before) * (most - least) / (after - before)

    def process_mib(self, flags: int) -> float:
        """Return the memory of a process without streams."""
        return self.idle_mib + flags * (self.full_mib - self.idle_mib) / _FULL_FLAGS


def load() -> Measured:
    return msgspec.json.decode(FILE.read_bytes(), type=Measured)
