"""Violations of plans, and instants with offsets and zones."""

import zoneinfo
from collections.abc import Iterator
from typing import Any

import pytest

from app.evaluation.plans.instants import InstantError, parse, text_of
from app.evaluation.plans.validation import in_stored_form
from app.evaluation.validation import check_flag
from tests.unit.evaluation.plans.plans import planned

AT = "2026-12-01T09:00:00Z"
ON = {"variant": "on", "percent": 1}


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        (AT, AT),
        ("2026-12-01t10:00:00.000+01:00", AT),
        ("2026-12-01T10:00:00[Europe/Berlin]", AT),
        ("2026-12-01T18:00:00[Asia/Seoul]", AT),
        ("2026-10-25T02:30:00+01:00[Europe/Berlin]", "2026-10-25T01:30:00Z"),
        ("2026-10-25T02:30:00+02:00[Europe/Berlin]", "2026-10-25T00:30:00Z"),
    ],
)
def test_instant_is_converted_to_utc(text: str, utc: str) -> None:
    assert text_of(parse(text)) == utc


@pytest.fixture
def no_system_zones() -> Iterator[None]:
    """Hide the time zones of this machine: images and Windows have none."""
    before = zoneinfo.TZPATH
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(())
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


@pytest.mark.usefixtures("no_system_zones")
def test_zone_is_known_without_those_of_the_machine() -> None:
    assert text_of(parse("2026-12-01T10:00:00[Europe/Berlin]")) == AT
    for unknown in ("Europe", "Europe/Nowhere", "../Berlin"):
        with pytest.raises(InstantError, match="names no time zone"):
            parse(f"2026-12-01T10:00:00[{unknown}]")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2026-12-01T09:00:00", "needs an offset or a zone"),
        ("2026-12-01", "must be a whole second"),
        ("2026-12-01T09:00:00.5Z", "must be a whole second"),
        ("2026-02-30T09:00:00Z", "must be a date and a time that exist"),
        ("2026-03-29T02:30:00[Europe/Berlin]", "does not exist in Europe/Berlin"),
        ("2026-03-29T02:30:00+01:00[Europe/Berlin]", "does not exist in Europe/Berlin"),
        ("2026-10-25T02:30:00[Europe/Berlin]", "occurs twice in Europe/Berlin"),
        ("2026-12-01T09:00:00+05:00[Europe/Berlin]", "has an offset that Europe/Berlin does not"),
        ("2026-12-01T09:00:00[Europe/Atlantis]", "names no time zone"),
        ("2026-12-01T09:00:00[../../etc/passwd]", "names no time zone"),
        ("2026-12-01T09:00:00[localtime]", "names no time zone"),
        ("2026-12-01T09:00:00[right/Europe/Berlin]", "names no time zone"),
        ("0001-01-01T00:00:00+14:00", "must be a date from 1970 to 9999"),
        ("9999-12-31T23:59:59-14:00", "must be a date from 1970 to 9999"),
        (1796115600, "must be a whole second"),
    ],
)
def test_unusable_instant_is_refused_with_the_rule(text: Any, rule: str) -> None:
    with pytest.raises(InstantError, match=rule):
        parse(text)


@pytest.mark.parametrize(
    ("steps", "field", "rule"),
    [
        ([], "plan.steps", "must be a list of 1 to 50 steps"),
        ([{"rollout": ON}] * 51, "plan.steps", "must be a list of 1 to 50 steps"),
        ([{}], "plan.steps[0]", "must have at least one of state"),
        ([{"rollout": ON, "hold": "maybe"}], "plan.steps[0].hold", 'must be "approval", or a'),
        ([{"rollout": ON, "hold": True}], "plan.steps[0].hold", 'must be "approval", or a'),
        ([{"rollout": {"variant": "x", "percent": 1}}], "plan.steps[0].rollout.variant", "must be"),
        ([{"rollout": {**ON, "percent": 101}}], "plan.steps[0].rollout.percent", "from 0 to 100"),
        ([{"rollout": {**ON, "percent": 0.0001}}], "plan.steps[0].rollout.percent", "at most 3"),
        ([{"rollout": ON, "state": "ON"}], "plan.steps[0].state", "must be ENABLED or DISABLED"),
        ([{"defaultVariant": "x"}], "plan.steps[0].defaultVariant", "must be the name of a"),
        ([{"targeting": {"if": ["x"]}}], "plan.steps[0].targeting.if[0]", "must be the name of a"),
        ([{"rollout": ON, "when": 1}], "plan.steps[0].when", "is not one of at, state"),
        ([{"rollout": ON, "at": AT}] * 2, "plan.steps[1].at", "must not be the instant at which"),
        (
            [{"rollout": ON, "hold": 60, "at": AT}, {"rollout": ON, "at": "2026-12-01T09:30:00Z"}],
            "plan.steps[1].at",
            "must be after step 1, which begins at 2026-12-01T10:00:00Z",
        ),
        (
            [{"rollout": ON}, {"rollout": ON, "at": "2020-01-01T00:00:00Z"}],
            "plan.steps[1].at",
            "must be after step 1",
        ),
        ([{"rollout": ON, "at": None}], "plan.steps[0].at", "must be a whole second"),
    ],
)
def test_wrong_step_is_refused_by_field_and_rule(
    steps: list[dict[str, Any]], field: str, rule: str
) -> None:
    violations = check_flag(planned(steps))

    assert [violation.field for violation in violations] == [field]
    assert rule in violations[0].rule


@pytest.mark.parametrize(
    "plan", [None, [], "x", {}, {"name": "", "steps": 1}, {"steps": [1, None]}]
)
def test_plan_of_another_form_is_refused(plan: Any) -> None:
    assert check_flag({**planned([{"rollout": ON}]), "plan": plan})


def test_stored_plan_has_instants_in_utc() -> None:
    definition = planned([{"rollout": ON, "at": "2026-12-01T10:00:00[Europe/Berlin]"}])

    assert check_flag(definition) == []
    assert in_stored_form(definition)["plan"]["steps"][0]["at"] == AT
    assert in_stored_form({"plan": {"steps": "x"}}) == {"plan": {"steps": "x"}}
