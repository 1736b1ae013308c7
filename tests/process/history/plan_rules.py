"""Check the promises of plans: each step is written once, and all replicas change together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.process.history.past import Past, Violation
from tests.process.history.records import ChangeSet, Entry, Evaluated
from tests.process.history.wishes import PLANNED

SCHEDULED = "scheduled"
_BEGAN = re.compile(r"(\S+): step (\d+) of \d+ began \(([^,)]+)(?:, at [^)]+)?\)")


def instant_of(seconds: int) -> str:
    """Return an instant as the service stores it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_plans(evaluations: Sequence[Evaluated], pasts: Mapping[str, Past]) -> Iterator[Violation]:
    """Yield each broken promise of plans. All plans are in one environment."""
    if PLANNED in pasts:
        yield from _steps(pasts[PLANNED])
        yield from _outcomes(evaluations, pasts[PLANNED])


def _steps(past: Past) -> Iterator[Violation]:
    """The history has each step of the last plans once, and no step before its instant."""
    written: set[tuple[str, int]] = set()
    stored_at: dict[str, float] = {}
    for change_set in past.final.change_sets:
        if change_set.kind != SCHEDULED:
            stored_at |= {change.key: change_set.at for change in change_set.changes}
            continue
        where = f"{PLANNED}:{change_set.revision} {change_set.message}"
        step = _begun(change_set, past)
        if step is None:
            yield Violation("step_from_nowhere", where)
            continue
        name, number, begin = step
        if (name, number) in written:
            yield Violation("step_written_twice", where)
        if change_set.at < begin:
            yield Violation("step_written_early", where)
        written.add((name, number))
    for key, entry in past.final.entries.items():
        for number, begin in enumerate(_begins(entry), 1):
            name = entry.value["plan"]["name"]
            if begin > stored_at[key] and (name, number) not in written:
                yield Violation("step_lost", f"{key}: step {number} of {name}")


def _begun(change_set: ChangeSet, past: Past) -> tuple[str, int, float] | None:
    """Return the plan, number and instant of the step that a change set reports, if it is one."""
    found = _BEGAN.fullmatch(change_set.message)
    if found is None or change_set.changes:
        return None
    name, number, key = found[1], int(found[2]), found[3]
    entry = past.states[change_set.revision].get(key)
    if entry is None or entry.value["plan"]["name"] != name:
        return None
    begins = _begins(entry)
    return (name, number, begins[number - 1]) if 1 <= number <= len(begins) else None


def _outcomes(evaluations: Sequence[Evaluated], past: Past) -> Iterator[Violation]:
    """Each replica gives the variant of the step in force, by the clock alone."""
    for evaluated in evaluations:
        entries = past.states.get(evaluated.revision, {})
        where = f"{evaluated.replica} at {evaluated.started:.3f}"
        if entries.keys() != evaluated.variants.keys():
            yield Violation("outcome_differs", f"{where}: {sorted(evaluated.variants)}")
            continue
        seconds = range(int(evaluated.started), int(evaluated.ended) + 1)
        for key, variant in evaluated.variants.items():
            possible = {_variant(entries[key].value, second) for second in seconds}
            if variant not in possible:
                yield Violation("outcome_differs", f"{where}: {key} gives {variant}")


def _variant(definition: Mapping[str, Any], now: int) -> str:
    """Return the default variant at a time; the steps have ascending instants."""
    variant: str = definition["defaultVariant"]
    for step in definition["plan"]["steps"]:
        if _seconds(step["at"]) <= now:
            variant = step["defaultVariant"]
    return variant


def _begins(entry: Entry) -> list[float]:
    return [_seconds(step["at"]) for step in entry.value["plan"]["steps"]]


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
