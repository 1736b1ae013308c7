"""The columns of the list of flags, and its relative times."""

from datetime import UTC, datetime, timedelta

import pytest

from app.console.flags.columns import COLUMNS_MAX, choose_columns
from app.console.flags.views import ago
from app.environments.models import Environment

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def environment(name: str, tier: str = "development") -> Environment:
    return Environment(
        name=name,
        tier=tier,
        revision=1,
        epoch="e",
        hash=None,
        protected=False,
        fractional="v3",
        metadata={},
    )


def test_columns_have_the_current_environment_and_production() -> None:
    every = [
        *(environment(f"team-{number}") for number in range(7)),
        environment("staging", "staging"),
        environment("production", "production"),
    ]

    shown, hidden = choose_columns(every, "team-6")

    names = [item.name for item in shown]
    assert names == ["team-0", "team-1", "team-2", "team-6", "production"]
    assert len(names) == COLUMNS_MAX
    assert [item.name for item in hidden] == ["team-3", "team-4", "team-5", "staging"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (-5, "now"),
        (2, "2 seconds ago"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (7_200, "2 hours ago"),
        (86_400, "yesterday"),
        (29 * 86_400, "29 days ago"),
        (30 * 86_400, "1 Mar 2026"),
    ],
)
def test_time_is_relative_for_thirty_days(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
