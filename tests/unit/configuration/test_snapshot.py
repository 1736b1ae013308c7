"""Snapshots: advancing equals building, and pages are complete."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.snapshots import snapshot as snapshots
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.environments.models import Environment

KEYS = st.sampled_from(["a", "a/1", "a/2", "a_b", "B", "b", "zz/9"])
CHANGES = st.lists(
    st.dictionaries(
        KEYS, st.none() | st.tuples(st.integers(), st.sampled_from(["setting", "flag"]))
    ),
    max_size=6,
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_another_release_changes_the_etag_of_the_same_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = build(environment(1), []).rules_state
    monkeypatch.setattr(snapshots, "VERSION", "0.0.1")

    assert build(environment(1), []).rules_state != before


def environment(revision: int) -> Environment:
    return Environment(
        name="local",
        tier="local",
        revision=revision,
        epoch="e",
        hash=None,
        protected=False,
        fractional="v3",
        metadata={},
    )


def configuration(key: str, value: object, kind: str, revision: int) -> Configuration:
    return Configuration(
        environment="local",
        key=key,
        kind=kind,
        value=value,
        schema=None,
        description=None,
        version=revision,
        updated_revision=revision,
        created_at=NOW,
        updated_at=NOW,
    )


def followed(changes: list[dict[str, tuple[int, str] | None]]) -> tuple[Snapshot, Snapshot]:
    """Return a snapshot advanced change by change, and one built from the final state."""
    snapshot = build(environment(0), [])
    # Later snapshots continue a digest that was computed.
    assert snapshot.entries_digest == 0
    state: dict[str, Configuration] = {}
    for revision, change in enumerate(changes, start=1):
        touched = {
            key: configuration(key, content[0], content[1], revision) if content else None
            for key, content in change.items()
        }
        snapshot = snapshot.advanced(environment(revision), touched.items())
        state = {k: v for k, v in {**state, **touched}.items() if v is not None}
    return snapshot, build(environment(len(changes)), state.values())


@given(changes=CHANGES)
def test_advanced_snapshot_equals_a_built_one(
    changes: list[dict[str, tuple[int, str] | None]],
) -> None:
    advanced, built = followed(changes)

    assert advanced.entries == built.entries
    assert list(advanced.keys) == list(built.keys) == sorted(advanced.entries)
    assert advanced.environment == built.environment
    assert advanced.digest == built.digest


@given(
    changes=CHANGES,
    prefix=st.sampled_from(["", "a", "a/", "b", "x"]),
    kind=st.sampled_from([None, "setting", "flag"]),
    limit=st.integers(1, 4),
)
def test_pages_together_are_all_that_fits_once_and_in_order(
    changes: list[dict[str, tuple[int, str] | None]], prefix: str, kind: str | None, limit: int
) -> None:
    snapshot, _ = followed(changes)
    expected = [
        key
        for key in sorted(snapshot.entries)
        if key.startswith(prefix) and kind in {None, snapshot.entries[key].kind}
    ]

    keys: list[str] = []
    after: str | None = ""
    while after is not None:
        page = snapshot.page(prefix=prefix, kind=kind, after=after, limit=limit)
        assert len(page.items) <= limit
        keys += [msgspec.json.decode(item)["key"] for item in page.items]
        after = page.next

    assert keys == expected


def test_older_snapshot_stays_as_it_was() -> None:
    old = build(environment(1), [configuration("a", 1, "setting", 1)])

    new = old.advanced(environment(2), [("a", configuration("a", 2, "setting", 2)), ("b", None)])

    assert old.entries["a"].configuration.value == 1
    assert new.entries["a"].configuration.value == 2
    assert (old.revision, new.revision) == (1, 2)
