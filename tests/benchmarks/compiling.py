"""A process that compiles ten thousand flags, changes one, and prints the costs.

It runs in its own process, so that only the rules use memory and create garbage.
"""

import gc
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from app.evaluation.ruleset import Rule, Ruleset
from tests.benchmarks.memory import resident_bytes

FLAGS = 10_000
CHANGES = 200


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of compiling all flags, and of one after each change."""

    flags: int
    cold_seconds: float
    resident_bytes: int
    changes_seconds: list[float]
    recompiled: list[int]


def conditions(number: int = 0) -> dict[str, Any]:
    """Return a rule of four conditions."""
    met = [
        {"in": [{"var": "country"}, ["DE", "FR", "NL", f"X{number}"]]},
        {"ends_with": [{"var": "email"}, "@example.com"]},
        {">=": [{"var": "age"}, 18]},
        {"==": [{"var": "plan"}, "pro"]},
    ]
    return {"if": [{"and": met}, "on", "off"]}


def rollout() -> dict[str, Any]:
    """Return a rule that splits users whose version is new enough."""
    user = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
    split = {"fractional": [user, ["on", 25], ["off", 75]]}
    return {"if": [{"sem_ver": [{"var": "version"}, ">=", "2.4.0"]}, split, "off"]}


def definition(targeting: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"on": "yes", "off": "no"},
        "defaultVariant": "off",
        "targeting": targeting,
    }


def _rules(state: str) -> Iterator[Rule]:
    for number in range(FLAGS):
        key, value = f"bench/flag-{number:05}", definition(conditions(number))
        yield Rule(key=key, is_segment=False, value=value, state=state)


def _compiled() -> Compiled:
    rules, changed = list(_rules("1")), list(_rules("2"))
    gc.collect()
    resident = resident_bytes()
    started = time.perf_counter()
    ruleset = Ruleset(fractional="v3", metadata={"team": "bench"}).with_changes(rules, [])
    cold_seconds = time.perf_counter() - started
    gc.collect()
    resident = resident_bytes() - resident

    seconds, recompiled = [], []
    for rule in changed[:CHANGES]:
        before, started = ruleset.flags, time.perf_counter()
        ruleset = ruleset.with_changes([rule], [])
        seconds.append(time.perf_counter() - started)
        recompiled.append(sum(before[key] is not flag for key, flag in ruleset.flags.items()))
    return Compiled(
        flags=len(ruleset.flags),
        cold_seconds=cold_seconds,
        resident_bytes=resident,
        changes_seconds=seconds,
        recompiled=recompiled,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_compiled()))
