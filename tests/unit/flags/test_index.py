"""Indexes of flags follow the snapshots, and reuse what did not change."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.environments.models import Environment
from app.flags.index import FlagIndexes, index_of
from tests.factories import flag

LOCAL = Environment(
    name="local",
    tier="local",
    revision=1,
    epoch="e",
    hash=None,
    protected=False,
    fractional="v3",
    metadata={},
)
EARLY = {"<": [{"var": "$flagd.timestamp"}, 1_000_000_000]}


def entry(key: str, value: Any, kind: str = "flag", version: int = 1) -> Configuration:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return Configuration(
        environment="local",
        key=key,
        kind=kind,
        value=value,
        schema=None,
        description=None,
        version=version,
        updated_revision=version,
        created_at=moment,
        updated_at=moment,
    )


def guarded(targeting: Any) -> dict[str, Any]:
    guards = [{"context": {"plan": "pro"}, "variant": "on"}]
    return flag(defaultVariant="off", targeting=targeting, guards=guards)


def snapshot(*entries: Configuration) -> Snapshot:
    return build(LOCAL, entries)


async def test_index_reuses_unchanged_summaries() -> None:
    first = snapshot(entry("a", flag()), entry("b", flag()), entry("s", 1, "setting"))
    second = first.advanced(LOCAL, [("b", entry("b", flag(defaultVariant="on"), version=2))])
    made = FlagIndexes()

    before, again, after = await made.get(first), await made.get(first), await made.get(second)

    assert before is again
    assert [summary.key for summary in after.summaries] == ["a", "b"]
    assert after.find("a") is before.find("a")
    assert after.find("b") is not before.find("b")


async def test_index_of_many_flags_is_made_in_a_thread() -> None:
    flags = [entry(f"a/{number}", flag()) for number in range(60)]
    state = snapshot(*flags, entry("a/b/z", flag()), entry("c", flag()))

    index = await FlagIndexes().get(state)

    assert index.prefixes == [("a/", 61), ("a/b/", 1)]


async def test_index_forgets_deleted_environments() -> None:
    made, state = FlagIndexes(), snapshot(entry("a", flag()))
    before = await made.get(state)

    made.forget(frozenset({"other"}))

    assert (await made.get(state)) is not before


def test_index_names_the_first_broken_guard() -> None:
    state = snapshot(
        entry("holds", guarded({"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]})),
        entry("fails", guarded({"if": [EARLY, "on"]})),
        entry("odd", flag(guards="none")),
    )

    index = index_of(state)

    broken = {summary.key: summary.broken_guard for summary in index.summaries}
    assert broken == {"holds": "", "fails": "gets off and must get on", "odd": ""}


def test_index_follows_a_changed_segment() -> None:
    pros = entry("pros", {"==": [{"var": "plan"}, "pro"]}, "segment")
    first = snapshot(pros, entry("a", guarded({"if": [{"$ref": "pros"}, "on"]})))
    matching_none = entry("pros", {"==": [{"var": "plan"}, "none"]}, "segment", version=2)
    second = first.advanced(LOCAL, [("pros", matching_none)])

    before = index_of(first)
    after = index_of(second, before)

    assert [before.summaries[0].broken_guard, after.summaries[0].broken_guard] == [
        *("", "gets off and must get on"),
    ]


def test_index_checks_guards_that_use_the_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    state = snapshot(entry("a", guarded({"if": [EARLY, "on"]})), entry("b", flag()))
    monkeypatch.setattr("app.flags.index.time.time", lambda: 999_999_990.0)
    before = index_of(state)
    monkeypatch.setattr("app.flags.index.time.time", lambda: 1_000_000_060.0)

    after = index_of(state, before)

    assert before.summaries[0].broken_guard == ""
    assert after.summaries[0].broken_guard == "gets off and must get on"
    assert after.find("b") is before.find("b")
