"""What a limited caller sees of a snapshot: own entries, evaluated by all rules."""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.permissions import Keys
from app.configuration.snapshots import limited
from app.configuration.snapshots.change_event import ChangeEvent, ChangeEventData
from app.configuration.snapshots.limited import PARTS_MAX, QUICK_ENTRIES, PartMaker
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.evaluation.body_block import BodyBlock
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.explain import explain
from tests.unit.configuration.test_snapshot import NOW, configuration, environment

SECONDS = 1_700_000_000
NAMES = ["a", "a/1", "a/2", "ab", "b", "b/1", "B/1", "c/flag", "c/segment"]
CONTEXTS: list[dict[str, Any]] = [{}, {"age": 20}, {"age": 70, "targetingKey": "u"}]
PREFIXES = st.lists(st.sampled_from(["a", "a/", "ab", "b", "B", "c/", "c/flag", "x"]), max_size=3)


def rule(older: int, used: Iterable[str]) -> Any:
    return {"and": [{">=": [{"var": "age"}, older]}, *({"$ref": name} for name in used)]}


def flag_of(default: str, used: list[str], needed: str | None) -> Any:
    condition = rule(18, used)
    if needed is not None:
        condition = {"and": [condition, {"flag": [needed, "on"]}]}
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": default,
        "targeting": {"if": [condition, "on"]},
    }


SEGMENTS = st.builds(rule, st.integers(0, 99), st.lists(st.sampled_from(NAMES), max_size=1))
FLAGS = st.builds(
    flag_of,
    st.sampled_from(["on", "off"]),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.none() | st.sampled_from(NAMES),
)
CONTENTS = st.one_of(
    st.none(),
    st.tuples(st.just("setting"), st.integers()),
    st.tuples(st.just("segment"), SEGMENTS),
    st.tuples(st.just("flag"), FLAGS),
)
CHANGES = st.lists(st.dictionaries(st.sampled_from(NAMES), CONTENTS, max_size=4), max_size=5)


def event(revision: int, keys: Iterable[str], *, properties: bool = False) -> ChangeEvent:
    data = ChangeEventData(
        environment="local",
        revision=revision,
        kind="write",
        actor="token:someone",
        message="secret plans",
        created_at=NOW,
        keys=sorted(keys),
        properties=properties,
    )
    return ChangeEvent("e", data)


def setting(number: int, revision: int) -> Configuration:
    return configuration(f"k{number}", revision, "setting", revision)


def entries_of(snapshot: Snapshot) -> list[Configuration]:
    return [entry.configuration for entry in snapshot.entries.values()]


def outcomes(snapshot: Snapshot, context: dict[str, Any]) -> list[bytes]:
    """Return what a bulk evaluation answers, in any order."""
    bodies: list[bytes] = []
    for portion in snapshot.rules.bulk.evaluate(context, SECONDS):
        bodies += portion.bodies if isinstance(portion, BodyBlock) else portion
    return sorted(bodies)


@given(changes=CHANGES, prefixes=PREFIXES, asked=st.sets(st.integers(0, 5)))
def test_part_equals_the_snapshot_of_own_entries(
    changes: list[dict[str, Any]], prefixes: list[str], asked: set[int]
) -> None:
    keys = Keys.below(prefixes)
    whole = build(environment(0), [])
    for revision, change in enumerate(changes, start=1):
        if revision in asked:
            whole.limited_to(keys)
        touched = {
            key: configuration(key, content[1], content[0], revision) if content else None
            for key, content in change.items()
        }
        whole = whole.advanced(environment(revision), touched.items(), [event(revision, touched)])

    part = whole.limited_to(keys)

    own = build(
        environment(whole.revision), [item for item in entries_of(whole) if item.key in keys]
    )
    assert part.entries == own.entries
    assert list(part.keys) == list(own.keys)
    assert part.digest == own.digest
    assert part.encoded_page(limit=3) == own.encoded_page(limit=3)
    assert part.encoded_page(kind="flag", after="a", limit=9) == own.encoded_page(
        kind="flag", after="a", limit=9
    )
    assert part.rules.digest == own.rules.digest
    assert list(part.rules.flags) == list(own.rules.flags) == list(part.rules.definitions)
    assert dict(part.rules.definitions) == dict(own.rules.definitions)
    assert dict(part.rules.segments) == dict(own.rules.segments)
    # A foreign segment may decide whether an own flag compiles, so `own` may lack one of these.
    assert part.rules.needing.keys() == {key for key in whole.rules.needing if key in keys}
    for context in CONTEXTS:
        assert outcomes(part, context) == sorted(
            flag.shown_to(keys.__contains__).evaluate(context, SECONDS).body
            for key, flag in whole.rules.flags.items()
            if key in keys
        )


@given(changes=CHANGES, prefixes=PREFIXES)
def test_etag_of_outcomes_changes_with_own_outcomes_alone(
    changes: list[dict[str, Any]], prefixes: list[str]
) -> None:
    keys = Keys.below(prefixes)
    whole = build(environment(0), [])
    for revision, change in enumerate(changes, start=1):
        before = whole.limited_to(keys)
        touched = {
            key: configuration(key, content[1], content[0], revision) if content else None
            for key, content in change.items()
        }
        whole = whole.advanced(environment(revision), touched.items())
        after = whole.limited_to(keys)
        rebuilt = build(environment(revision), entries_of(whole)).limited_to(keys)
        assert after.rules_state == rebuilt.rules_state
        if after.rules_state == before.rules_state:
            assert [outcomes(after, c) for c in CONTEXTS] == [outcomes(before, c) for c in CONTEXTS]
        used = {name for flag in before.rules.flags.values() for name in flag.references}
        if not any(key in keys or key in used for key in touched):
            assert after.rules_state == before.rules_state


def test_part_has_neither_hash_nor_foreign_events() -> None:
    named = msgspec.structs.replace(environment(3), hash="00ff")
    events = [event(1, ["a/1", "b/1"]), event(2, ["b/1"]), event(3, [], properties=True)]
    whole = build(environment(0), []).advanced(named, [], events)

    part = whole.limited_to(Keys(("a/",)))

    assert part.environment == environment(3)
    first, hidden, properties = part.recent
    assert list(first.data.keys) == ["a/1"]
    assert first.message_for("") is not None
    assert hidden.revision == 2
    assert hidden.message_for("") is None
    assert (hidden.data.actor, hidden.data.message, list(hidden.data.keys)) == ("", "", [])
    assert properties.message_for("") is not None
    assert hidden.limited_to(Keys(("b/",))) is hidden


def test_error_of_an_own_flag_names_nothing_in_foreign_segments() -> None:
    broken = {"and": [{"vault": [1]}]}
    whole = build(
        environment(1),
        [
            configuration("a/own", {"and": [{"$ref": "b/broken"}]}, "segment", 1),
            configuration("a/flag", flag_of("on", ["a/own"], None), "flag", 1),
            configuration("a/needs", flag_of("on", [], "a/flag"), "flag", 1),
            configuration("b/broken", broken, "segment", 1),
        ],
    )
    part = whole.limited_to(Keys(("a/",)))
    later = whole.advanced(
        environment(2), [("b/broken", configuration("b/broken", broken, "segment", 2))]
    ).limited_to(Keys(("a/",)))

    assert b"vault" in whole.rules.flags["a/flag"].evaluate({"age": 20}, SECONDS).body
    for shown in (part, later):
        bodies = b"".join(outcomes(shown, {"age": 20}))
        assert b"a segment outside of your keys" in bodies
        assert b"vault" not in bodies
    assert whole.limited_to(Keys(("a/", "b/"))).rules.flags["a/flag"].broken_within
    assert b"vault" in b"".join(outcomes(whole.limited_to(Keys(("a/", "b/"))), {"age": 20}))


@pytest.mark.parametrize("key", ["a/flag", "a/needs"])
def test_explanation_names_nothing_in_foreign_segments(key: str) -> None:
    definitions = {
        "a/flag": flag_of("on", ["b/broken"], None),
        "a/needs": flag_of("on", [], "a/flag"),
    }
    segments = {"b/broken": {"and": [{"vault": [1]}]}}
    needed = Flag("a/flag", definitions["a/flag"], FlagSet(segments, "v3", {}))
    flag_set = FlagSet(segments, "v3", {}, flag_of={"a/flag": needed}.get)

    def explained(keys: Keys) -> bytes:
        explanation = explain(
            key,
            definitions[key],
            flag_set,
            context={"age": 20},
            now=SECONDS,
            sees=keys.__contains__,
        )
        return msgspec.json.encode(explanation)

    assert b"vault" in explained(Keys(("a/", "b/")))
    assert b"vault" not in explained(Keys(("a/",)))


def test_later_parts_share_what_did_not_change() -> None:
    first = configuration("a/1", flag_of("on", [], None), "flag", 1)
    whole = build(environment(1), [first, configuration("b/1", 1, "setting", 1)])
    keys = Keys(("a/",))
    before = whole.limited_to(keys)

    later = whole.advanced(environment(2), [("b/1", configuration("b/1", 2, "setting", 2))])
    after = later.limited_to(keys)

    assert whole.limited_to(keys) is before
    assert later.limited_to(keys) is after
    assert after.entries is before.entries
    assert after.rules.flags is before.rules.flags
    assert after.revision == 2


@pytest.mark.parametrize("changes", [0, 1, QUICK_ENTRIES + 1])
def test_part_follows_a_change_of_any_size(changes: int) -> None:
    whole = build(environment(1), [setting(number, 1) for number in range(QUICK_ENTRIES + 2)])
    keys = Keys(("k1",))
    whole.limited_to(keys)
    touched = {f"k{number}": setting(number, 2) for number in range(changes)}

    later = whole.advanced(environment(2), touched.items(), [event(2, touched)])

    assert later.has_part(keys)
    part, made = later.limited_to(keys), later.make_part(keys)
    assert part.entries == made.entries
    assert [item.data for item in part.recent] == [item.data for item in made.recent]


def test_change_of_all_sections_drops_the_parts() -> None:
    whole = build(environment(1), [setting(number, 1) for number in range(QUICK_ENTRIES + 2)])
    keys = Keys(("k1",))
    whole.limited_to(keys)
    sections = len(whole.entries.sections)
    later = whole
    for number in range(QUICK_ENTRIES + 2, 4 * QUICK_ENTRIES, 10):
        added = [setting(number + offset, 2) for offset in range(10)]
        later = later.advanced(environment(2), [(item.key, item) for item in added])
        if len(later.entries.sections) != sections:
            break

    assert len(later.entries.sections) != sections
    assert not later.has_part(keys)
    assert later.limited_to(keys).entries == later.make_part(keys).entries


async def test_callers_that_wait_share_one_part_of_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current = build(environment(1), [setting(number, 1) for number in range(QUICK_ENTRIES + 2)])
    keys, made = Keys(("k1",)), list[str]()
    make_part = Snapshot.make_part

    def counted(snapshot: Snapshot, keys: Keys) -> Snapshot:
        made.append(threading.current_thread().name)
        return make_part(snapshot, keys)

    monkeypatch.setattr(Snapshot, "make_part", counted)
    maker = PartMaker(lambda _: current)

    assert not current.has_part(keys)
    await asyncio.gather(*(maker.wait("local", keys) for _ in range(5)))

    assert made == ["part"]
    assert current.has_part(keys)


async def test_change_while_a_part_is_made_is_in_the_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = build(environment(1), [setting(number, 1) for number in range(QUICK_ENTRIES + 2)])
    after = before.advanced(environment(2), [("k1", setting(1, 2))], [event(2, ["k1"])])
    current, keys = before, Keys(("k1",))
    make_part = Snapshot.make_part

    def overtaken(snapshot: Snapshot, keys: Keys) -> Snapshot:
        nonlocal current
        current = after
        return make_part(snapshot, keys)

    monkeypatch.setattr(Snapshot, "make_part", overtaken)
    await PartMaker(lambda _: current).wait("local", keys)

    assert after.has_part(keys)
    assert after.limited_to(keys).entries["k1"] is after.entries["k1"]
    assert [item.revision for item in after.limited_to(keys).recent] == [2]


async def test_caller_that_gives_up_leaves_the_part_to_others() -> None:
    current = build(environment(1), [setting(number, 1) for number in range(QUICK_ENTRIES + 2)])
    keys = Keys(("k1",))
    maker = PartMaker(lambda _: current)
    first, second = (asyncio.create_task(maker.wait("local", keys)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()

    await second

    assert current.has_part(keys)


def test_caller_with_all_keys_gets_the_snapshot_itself() -> None:
    whole = build(environment(1), [configuration("a", 1, "setting", 1)])

    assert whole.limited_to(Keys(("",))) is whole


def test_stored_parts_have_a_limit() -> None:
    entries = [configuration(f"k{number}", number, "setting", 1) for number in range(100)]
    whole = build(environment(1), entries)
    first = whole.limited_to(Keys(("first",)))
    for number in range(PARTS_MAX):
        assert len(whole.limited_to(Keys((f"k{number}",))).entries) >= 1

    assert whole.limited_to(Keys(("first",))) is not first


def test_large_parts_do_not_displace_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "ENTRIES_MAX", 10)
    entries = [configuration(f"k{number}", number, "setting", 1) for number in range(20)]
    whole = build(environment(1), entries)
    keys = [Keys(("k",)), Keys(("k", "x")), Keys(("k1",))]

    first = [whole.limited_to(one) for one in keys]

    assert [whole.limited_to(one) is part for one, part in zip(keys, first, strict=True)] == [
        True
    ] * len(keys)


def test_unused_part_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(environment(1), [configuration("a/1", 1, "setting", 1)])
    keys = Keys(("a/",))
    whole.limited_to(keys)
    monkeypatch.setattr(limited, "USED_SECONDS", -1.0)

    later = whole.advanced(environment(2), [])

    assert "_parts" not in later.__dict__
    assert later.limited_to(keys).revision == 2
