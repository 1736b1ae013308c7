"""A flag in one line."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from app.configuration.snapshots.snapshot import Configuration
from app.flags.summary import FlagState, rollout_of, summary_of

PRO = {"==": [{"var": "plan"}, "pro"]}
BOOLEAN = {"on": True, "off": False}
COLOURS = {"red": "#f00", "blue": "#00f", "green": "#0f0", "grey": "#888"}


def boolean(targeting: Any = None, default: str = "off", **members: Any) -> dict[str, Any]:
    flag = {"state": "ENABLED", "variants": BOOLEAN, "defaultVariant": default, **members}
    return flag if targeting is None else {**flag, "targeting": targeting}


def colours(targeting: Any = None) -> dict[str, Any]:
    return {**boolean(targeting, "blue"), "variants": COLOURS}


def split(*shares: tuple[str, int], by: str | None = None) -> dict[str, Any]:
    attribute = [] if by is None else [{"cat": [{"var": "$flagd.flagKey"}, {"var": by}]}]
    return {"fractional": [*attribute, *map(list, shares)]}


QUARTER = split(("on", 25), ("off", 75))


@pytest.mark.parametrize(
    ("definition", "state", "text"),
    [
        (boolean(), "off", "off for all"),
        (boolean(default="on"), "on", "on for all"),
        (boolean({}, "on"), "on", "on for all"),
        (boolean({"if": ["on"]}), "on", "on for all"),
        (boolean(state="DISABLED"), "disabled", "disabled"),
        (boolean(QUARTER), "split", "25 % of everyone"),
        (
            boolean(split(("on", 1), ("off", 999), by="company")),
            "split",
            "0.1 % of everyone by company",
        ),
        (boolean(split(("on", 0), ("off", 100))), "off", "off for all"),
        (boolean(split(("on", 100), ("off", 0))), "on", "on for all"),
        (boolean({"if": [PRO, "on"]}), "rules", "1 rule"),
        (boolean({"if": [PRO, "on", PRO, "off", "on"]}), "rules", "2 rules, else on"),
        (boolean({"if": [PRO, "on", QUARTER]}), "rules", "1 rule, 25 % of others"),
        (boolean({"if": [PRO, QUARTER, "off"]}), "rules", "1 rule"),
        (boolean(PRO), "rules", "1 rule"),
        (boolean({"cat": ["o", "n"]}), "rules", "rules in JSON"),
        (colours(), "on", "blue for all"),
        (colours({"if": [PRO, "red"]}), "rules", "1 rule, else blue"),
        (colours(split(("red", 1), ("blue", 1))), "split", "50 % red, 50 % blue"),
        (colours(split(*((name, 1) for name in COLOURS))), "split", "split of everyone in 4"),
        ({"state": "ENABLED", "variants": BOOLEAN}, "on", "the program's default for all"),
        ({}, "invalid", "cannot be evaluated"),
        ({"state": "ENABLED", "variants": []}, "invalid", "cannot be evaluated"),
        (boolean(default=["on"]), "on", "the program's default for all"),  # type: ignore[arg-type]
    ],
)
def test_rollout_is_said_in_words(definition: dict[str, Any], state: str, text: str) -> None:
    rollout = rollout_of(definition)

    assert (rollout.state, rollout.text.replace("\N{NO-BREAK SPACE}", " ")) == (
        FlagState(state),
        text,
    )


@pytest.mark.parametrize("targeting", [QUARTER, {"if": [PRO, QUARTER, "off"]}])
def test_rollout_says_whether_it_splits(targeting: Any) -> None:
    assert rollout_of(boolean(targeting)).has_split


def configuration(value: Any, **members: Any) -> Configuration:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    fields: dict[str, Any] = {
        "environment": "local",
        "key": "checkout/new/form",
        "kind": "flag",
        "schema": None,
        "description": None,
        "version": 3,
        "updated_revision": 7,
        "created_at": moment,
        "updated_at": moment,
    }
    return Configuration(value=value, **fields | members)


def test_summary_has_owner_tags_and_expiry_of_the_metadata() -> None:
    metadata = {"owner": "payments", "tags": "web, beta,", "expires": "2026-12-31T10:00:00Z"}

    summary = summary_of(configuration(boolean(metadata=metadata), description="The form"))

    assert (summary.owner, summary.tags) == ("payments", ("web", "beta"))
    assert summary.expires == date(2026, 12, 31)
    assert (summary.type, summary.description) == ("boolean", "The form")
    assert summary.prefixes == ["checkout/", "checkout/new/"]


@pytest.mark.parametrize("value", [[], "text", {"metadata": 1, "variants": {"a": 1, "b": "b"}}])
def test_summary_of_a_broken_definition_is_invalid(value: Any) -> None:
    summary = summary_of(configuration(value))

    assert summary.rollout.state is FlagState.INVALID
    assert (summary.type, summary.owner, summary.expires) == ("", "", None)


def test_digest_differs_only_when_the_flag_serves_something_else() -> None:
    first = summary_of(configuration(boolean(QUARTER, metadata={"owner": "a"}))).digest

    assert summary_of(configuration(boolean(QUARTER, metadata={"owner": "b"}))).digest == first
    assert summary_of(configuration(boolean(QUARTER, default="on"))).digest != first
