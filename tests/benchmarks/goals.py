"""The goals of the benchmarks: by part, case and unit."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.benchmarks.figures import FLOOR, P50, P99, PROCESSOR, RATE


@dataclass(frozen=True)
class Goal:
    """A bound that a figure must meet."""

    limit: float
    is_lower: bool

    def __str__(self) -> str:
        return f"{'≥' if self.is_lower else '≤'} {self.limit:,g}"

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.is_lower else value <= self.limit


def at_least(limit: float) -> Goal:
    return Goal(limit, is_lower=True)


def at_most(limit: float) -> Goal:
    return Goal(limit, is_lower=False)


GOALS: Mapping[str, Mapping[str, Mapping[str, Goal]]] = {
    "ofrep": {
        "one flag": {FLOOR: at_least(1.1), PROCESSOR: at_most(45)},
        "100 flags, half splits": {FLOOR: at_least(0.6)},
        "1,000 flags, half splits": {FLOOR: at_least(0.25), PROCESSOR: at_most(200)},
        "10,000 flags, half splits": {PROCESSOR: at_most(1_500)},
        "100 flags of 20 rules, none met": {PROCESSOR: at_most(250)},
        "100 flags, 304": {FLOOR: at_least(1.1)},
        "one flag, limited token": {"of the unlimited one": at_most(1.2)},
        "1,000 flags, half splits, limited token": {"of the unlimited one": at_most(1.1)},
        "100 flags with plans": {"of those without": at_most(1.1)},
    },
    "requests": {
        "GET one entry": {FLOOR: at_least(1.3)},
        "GET one entry, 304": {FLOOR: at_least(0.65)},
        "GET a page of the list": {PROCESSOR: at_most(45)},
        "401": {PROCESSOR: at_most(25)},
        "403": {PROCESSOR: at_most(25)},
        "404": {PROCESSOR: at_most(25)},
        "429": {PROCESSOR: at_most(25)},
    },
    "puts": {
        "PUT one entry, 16 at once": {
            PROCESSOR: at_most(600),
            RATE: at_least(1_500),
            P99: at_most(40),
        },
        "PUT one entry, alone": {P50: at_most(2.2)},
        "PUT a segment of 1,900 values": {P50: at_most(8)},
    },
    "relays": {
        "PUT until a relay of a relay serves it": {P99: at_most(100)},
        "memory of a relay, 10,000 flags": {"of a replica": at_most(1.1)},
    },
    "changes": {
        "PUT until another replica serves it": {P50: at_most(3), P99: at_most(6)},
    },
    "streams": {
        "PUT until 1,000 streams have it": {P99: at_most(25)},
        "memory of one stream": {"KiB": at_most(20)},
    },
    "sync": {
        "PUT until a provider's event": {P99: at_most(50)},
        "memory of one gRPC stream": {"KiB": at_most(50)},
    },
    "churn": {
        "one of 10,000 flags, 10 changes/s": {P99: at_most(3)},
    },
    "past": {
        "an entry as of a revision": {P50: at_most(3)},
        "a list as of a revision": {P50: at_most(20)},
        "diff of two revisions": {P50: at_most(60)},
        "restore, dry run": {P50: at_most(60)},
        "verify 100,000 revisions": {"s": at_most(10)},
    },
    "large": {
        "start": {"s": at_most(5)},
        "start without database, from the disk": {"s": at_most(5)},
        "first request, 12,000 entries": {"ms, longest stall": at_most(20)},
        **{f"list, {page}": {P50: at_most(20)} for page in ("first page", "deep", "prefix")},
        **{
            page: {P50: at_most(50)}
            for page in (
                *("history, first page", "history, deep", "history of one key"),
                *("console: history", "console: history, author", "console: history, key"),
                *("console: history, no match", "console: history, until a day"),
            )
        },
        "one change, at a replica": {PROCESSOR: at_most(5_000)},
    },
    "footprint": {
        "memory, idle": {"MiB": at_most(70)},
        "memory, 10,000 flags": {"MiB": at_most(130)},
        "memory, two workers": {"MiB": at_most(150)},
        "start, empty database": {"s": at_most(0.6)},
    },
    "peers": {
        "Flagstone: 1,000 flags": {FLOOR: at_least(15)},
        "Flagstone: definitions": {FLOOR: at_least(1)},
        "Flagstone: 16 writers": {FLOOR: at_least(1), P99: at_most(40)},
    },
    "evaluation": {
        "a rule of four conditions": {"of flagd-core": at_least(10)},
        "sem_ver, then fractional": {"of flagd-core": at_least(10)},
        "10,000 flags compiled": {"s": at_most(2)},
        "memory of 10,000 compiled flags": {"MiB": at_most(100)},
        "one flag changed": {P50: at_most(2)},
    },
    "writes": {
        "a write, 1 at once": {"of the bare": at_least(0.5)},
        "a write, 8 at once": {"of the bare": at_least(0.5)},
    },
    "sizes": {
        "10,000 entries, loaded": {"s": at_most(1)},
        "10,000 entries, one change": {P50: at_most(2)},
        "10,000 entries, memory": {"MiB": at_most(60)},
    },
    "access": {"a good token that was seen before": {"µs, p50": at_most(5)}},
    "sealing": {
        "seal 256 bytes": {PROCESSOR: at_most(5)},
        "open 256 bytes": {PROCESSOR: at_most(5)},
    },
    "backups": {
        "memory while 1 GiB is backed up": {"MiB": at_most(64)},
        "1 GiB backed up": {"s": at_most(60)},
        "memory while 1 GiB is verified": {"MiB": at_most(64)},
        "1 GiB verified": {"s": at_most(60)},
    },
    "console": {
        f"{page}, 4 x {flags}": {"ms, p95": at_most(limit), "ms, longest stall": at_most(20)}
        for flags in ("1,000", "5,000")
        for page, limit in {
            "flag list": 40,
            "flag list, search": 40,
            "flag page": 20,
            "changes": 40,
            "palette": 40,
            "preview of 10,000 keys": 150,
        }.items()
    },
}
