"""The checker of histories finds a violation of each rule."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.process.history.checker import describe, violations
from tests.process.history.records import (
    AppliedChange,
    Attempt,
    Change,
    ChangeSet,
    Entry,
    Outcome,
    Served,
    load,
    save,
)
from tests.unit.history.history_story import (
    A2,
    A4,
    B1,
    ENTRIES,
    EPOCH,
    FINAL,
    GOOD,
    HEARD,
    NARROWED,
    NEXT,
    PAGE,
    PAST,
    WRITES,
    Story,
    and_read,
    and_write,
    ending,
    heard,
    heard_instead,
    of_epoch,
    r1_serving,
    with_past,
    write_instead,
)

ALLOWED: dict[str, Story] = {
    "nothing": GOOD,
    "a resync leaves some out": heard_instead(HEARD[0], heard("resync", 3), HEARD[4]),
    "an unknown write is absent": and_write("w0.4", outcome=Outcome.UNKNOWN, status=503),
    "another life begins where it begins": and_read(3, {"shop/b": B1}, life=2),
    "another replica is behind": and_read(3, {"shop/b": B1}, replica="r1"),
}

BROKEN_BY_WRITES: dict[str, tuple[set[str], Story]] = {
    "acknowledged and not there": (
        {"acknowledged_missing", "write_made_in_part"},
        and_write("w0.4", revision=5),
    ),
    "acknowledged with another value": (
        {"acknowledged_missing"},
        write_instead(0, requested=(msgspec.structs.replace(WRITES[0].requested[0], value=5),)),
    ),
    "acknowledged with another version": (
        {"acknowledged_missing"},
        write_instead(0, applied=(msgspec.structs.replace(WRITES[0].applied[0], version=7),)),
    ),
    "acknowledged as a deletion": (
        {"acknowledged_missing"},
        write_instead(0, applied=(msgspec.structs.replace(WRITES[0].applied[0], version=None),)),
    ),
    "made and not acknowledged as made": ({"write_made_in_part"}, write_instead(1, applied=())),
    "refused and made": (
        {"refused_yet_made", "from_nowhere"},
        write_instead(4, outcome=Outcome.REFUSED),
    ),
    "without a writer": ({"from_nowhere"}, replace(GOOD, writes=WRITES[:4])),
    "a deletion without a writer": (
        {"from_nowhere"},
        replace(GOOD, writes=[*WRITES[:2], *WRITES[3:]]),
    ),
    "made twice": (
        {"write_made_twice"},
        with_past(*PAST[:3], ChangeSet(4, "w1.1", PAST[3].changes)),
    ),
    "two who won one version": (
        {"version_won_twice", "acknowledged_missing", "order_of_time"},
        write_instead(
            4,
            outcome=Outcome.OK,
            applied=(AppliedChange(environment="local", revision=2, key="a", version=2),),
        ),
    ),
    "later and of a lower revision": (
        {"order_of_time"},
        write_instead(0, attempts=(Attempt("r0", NEXT, NEXT + 1, 200),)),
    ),
    "answered with 500": (
        {"answer_unexpected"},
        and_write("w0.4", outcome=Outcome.UNKNOWN, status=500),
    ),
}

BROKEN_BY_THE_PAST: dict[str, tuple[set[str], Story]] = {
    "a gap": (
        {"revision_gap", "version_gap", "fold_differs", "acknowledged_missing"}
        | {"write_made_in_part", "served_differs", "stream_told_wrong"},
        with_past(*PAST[:1], *PAST[2:]),
    ),
    "a version twice": (
        {"version_won_twice", "version_gap", "fold_differs", "served_differs"},
        with_past(*PAST[:3], ChangeSet(4, "w1.2", (Change("a", None, Entry(2, "w1.2")),))),
    ),
    "a version left out": (
        {"version_gap", "fold_differs", "served_differs"},
        with_past(*PAST[:3], ChangeSet(4, "w1.2", (Change("a", None, Entry(4, "w1.2")),))),
    ),
    "a change that starts from what was not there": (
        {"fold_differs"},
        with_past(*PAST[:3], ChangeSet(4, "w1.2", (Change("a", A2, A4),))),
    ),
    "entries that the changes do not give": (
        {"fold_differs"},
        ending(entries={**ENTRIES, "a": Entry(3, "else")}),
    ),
    "properties that no change has left": (
        {"properties_differ"},
        ending(
            properties=Entry(3, {}),
            served={"r0": Served(EPOCH, 4, PAGE, Entry(3, {}))},
        ),
    ),
    "properties that start from what was not there": (
        {"properties_differ"},
        with_past(
            *PAST[:2],
            msgspec.structs.replace(
                PAST[2], properties=Change("", Entry(1, {}), Entry(2, {"owner": "w0.2"}))
            ),
            PAST[3],
        ),
    ),
    "a history in another order": ({"history_told_wrong"}, ending(reported=PAST[:3])),
}

BROKEN_BY_REPLICAS: dict[str, tuple[set[str], Story]] = {
    "back": ({"replica_went_back"}, and_read(3, {"shop/b": B1})),
    "not the state": ({"served_differs"}, and_read(4, {"a": A4})),
    "a revision that never was": ({"served_differs"}, and_read(5, ENTRIES)),
    "before the revision that was asked for": (
        {"own_write_unseen"},
        and_read(4, ENTRIES, min_revision=5),
    ),
    "another epoch": ({"epoch_changed"}, and_read(4, ENTRIES, epoch="two")),
    "a read answered with 500": ({"answer_unexpected"}, and_read(4, ENTRIES, status=500)),
    "behind at the end": ({"not_converged"}, r1_serving(revision=3)),
    "other bytes at the end": ({"not_converged"}, r1_serving(page=PAGE + " ")),
    "other entries at the end": (
        {"not_converged", "fold_differs"},
        r1_serving(page=PAGE.replace("w1.1", "w1.3")),
    ),
    "other properties at the end": ({"properties_differ"}, r1_serving(properties=Entry(1, {}))),
    "no answer at the end": ({"not_converged"}, r1_serving(epoch="", revision=-1, page="")),
}

BROKEN_BY_STREAMS: dict[str, tuple[set[str], Story]] = {
    "a change left out": ({"stream_skipped"}, heard_instead(*HEARD[:2], *HEARD[3:])),
    "a change left out of a narrowed stream": (
        {"stream_skipped"},
        heard_instead(NARROWED[0], NARROWED[2]),
    ),
    "a change twice": ({"stream_went_back"}, heard_instead(*HEARD[:4], HEARD[3], HEARD[4])),
    "back by a change": ({"stream_went_back"}, heard_instead(*HEARD, *HEARD[2:])),
    "back by a resync": (
        {"stream_went_back"},
        heard_instead(*HEARD, heard("resync", 2), *HEARD[3:]),
    ),
    "other keys": ({"stream_told_wrong"}, heard_instead(*HEARD[:4], heard("change", 4, "b"))),
    "a change of another epoch": (
        {"epoch_changed"},
        heard_instead(*HEARD[:4], of_epoch("two", HEARD[4])),
    ),
    "a stream that stays behind": ({"not_converged"}, ending(streams={"stream ": 3})),
}

BROKEN = BROKEN_BY_WRITES | BROKEN_BY_THE_PAST | BROKEN_BY_REPLICAS | BROKEN_BY_STREAMS


@pytest.mark.parametrize("story", ALLOWED.values(), ids=ALLOWED)
def test_allowed_history_has_no_violation(story: Story) -> None:
    assert violations(story.records, [story.final]) == []


@pytest.mark.parametrize(("broken", "story"), BROKEN.values(), ids=BROKEN)
def test_broken_promise_is_named(broken: set[str], story: Story) -> None:
    assert story.names() == broken


def test_half_write_to_two_environments_is_a_violation() -> None:
    other = msgspec.structs.replace(
        FINAL,
        environment="staging",
        revision=0,
        change_sets=(),
        reported=(),
        entries={},
        served={name: Served(EPOCH, 0, '{"items": []}', FINAL.properties) for name in FINAL.served},
        streams={},
    )
    both = write_instead(4, environments=("local", "staging"))

    violated = violations(both.records, [both.final, other])

    assert [violation.name for violation in violated] == ["write_made_in_part"]


def test_saved_history_gets_the_same_verdict(tmp_path: Path) -> None:
    story = and_read(3, {"shop/b": B1})
    save(tmp_path / "history.jsonl", [*story.records, story.final])

    records, finals = load(tmp_path / "history.jsonl")

    assert (records, finals) == (story.records, [story.final])
    assert violations(records, finals) == violations(story.records, [story.final])


def test_first_of_many_violations_are_shown() -> None:
    violated = violations(and_write("w0.4", revision=5).records, [FINAL]) * 20

    assert describe(violated, most=2).splitlines()[2] == f"and {len(violated) - 2} more"
