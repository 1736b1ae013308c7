"""The checker of plans finds a violation of each rule."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.process.history.past import Past
from tests.process.history.plan_rules import SCHEDULED, check_plans, instant_of
from tests.process.history.records import Change, ChangeSet, Entry, Evaluated, Final
from tests.process.history.wishes import PLANNED

KEY = "launch/0"
# Seconds of the clock at which the steps begin. The flag is stored at 95 s.
_STEPS = {"v1": 90, "v2": 100, "v3": 110}


def _flag(name: str = "q0.1") -> dict[str, Any]:
    steps = [{"at": instant_of(at), "defaultVariant": variant} for variant, at in _STEPS.items()]
    return {"defaultVariant": "v0", "plan": {"name": name, "steps": steps}}


def _began(revision: int, step: int, at: float, name: str = "q0.1", late: str = "") -> ChangeSet:
    message = f"{name}: step {step} of 3 began ({KEY}{late})"
    return ChangeSet(revision, message, (), kind=SCHEDULED, at=at)


ENTRY = Entry(1, _flag())
CREATED = ChangeSet(1, "q0.1", (Change(KEY, None, ENTRY),), at=95.0)
SECOND = _began(2, 2, 100.4)
THIRD = _began(3, 3, 180.0, late=", at 1970-01-01T00:01:50Z")
CHANGE_SETS = (CREATED, SECOND, THIRD)


def _evaluated(variant: str, started: float, ended: float, **members: Any) -> Evaluated:
    fields: dict[str, Any] = {"replica": "r0", "revision": 1, "variants": {KEY: variant}}
    return Evaluated(started=started, ended=ended, **fields | members)


EVALUATIONS = (
    _evaluated("v1", 95.2, 95.3),
    # The flag was evaluated before or after the step.
    _evaluated("v1", 99.9, 100.1),
    _evaluated("v2", 99.9, 100.1, replica="r1"),
    _evaluated("v3", 110.0, 110.2, revision=2),
)


def _names(
    change_sets: tuple[ChangeSet, ...] = CHANGE_SETS,
    evaluations: Sequence[Evaluated] = EVALUATIONS,
) -> set[str]:
    final = Final(
        environment=PLANNED,
        epoch="e",
        revision=len(change_sets),
        change_sets=change_sets,
        entries={KEY: ENTRY},
        properties=Entry(1, {}),
        reported=change_sets,
        served={},
        streams={},
    )
    return {violation.name for violation in check_plans(evaluations, {PLANNED: Past(final)})}


def test_plan_that_keeps_all_promises_has_no_violation() -> None:
    assert _names() == set()


@pytest.mark.parametrize(
    ("change_sets", "name"),
    [
        ((CREATED, SECOND), "step_lost"),
        ((*CHANGE_SETS, _began(4, 2, 181.0)), "step_written_twice"),
        ((CREATED, _began(2, 2, 99.9), THIRD), "step_written_early"),
        ((*CHANGE_SETS, _began(4, 4, 200.0)), "step_from_nowhere"),
        ((*CHANGE_SETS, _began(4, 2, 200.0, name="q0.9")), "step_from_nowhere"),
        ((*CHANGE_SETS, ChangeSet(4, "else", (), kind=SCHEDULED, at=200.0)), "step_from_nowhere"),
        (
            (
                CREATED,
                SECOND,
                msgspec.structs.replace(THIRD, changes=(Change(KEY, ENTRY, ENTRY),)),
                _began(4, 3, 181.0),
            ),
            "step_from_nowhere",
        ),
    ],
)
def test_step_that_is_written_wrongly_is_a_violation(
    change_sets: tuple[ChangeSet, ...], name: str
) -> None:
    assert _names(change_sets) == {name}


@pytest.mark.parametrize(
    "evaluated",
    [
        _evaluated("v2", 99.0, 99.9),
        _evaluated("v1", 100.0, 100.2, replica="r1"),
        _evaluated("v0", 110.0, 110.2, revision=3),
        _evaluated("v3", 110.0, 110.2, revision=9),
        _evaluated("v1", 95.2, 95.3, variants={}),
    ],
)
def test_outcome_of_another_instant_is_a_violation(evaluated: Evaluated) -> None:
    assert _names(evaluations=[*EVALUATIONS, evaluated]) == {"outcome_differs"}
