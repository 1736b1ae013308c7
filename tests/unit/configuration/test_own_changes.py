"""Own change sets are applied only to the state that they were written to."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from app.configuration.snapshots import own_changes
from app.configuration.snapshots.change_event import ChangeEventData
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.own_changes import OwnChange
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.database import Commit, Database
from app.environments.models import Environment
from app.settings import load

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def environment(revision: int, epoch: str = "e") -> Environment:
    return Environment(
        name="local",
        tier="local",
        revision=revision,
        epoch=epoch,
        hash=f"{revision:02}" if revision else None,
        protected=False,
        fractional="v3",
        metadata={},
    )


def entry(key: str, revision: int) -> Configuration:
    return Configuration(
        environment="local",
        key=key,
        kind="flag",
        value={"state": "ENABLED", "variants": {"on": revision}, "defaultVariant": "on"},
        schema=None,
        description=None,
        version=revision,
        updated_revision=revision,
        created_at=NOW,
        updated_at=NOW,
    )


def change(revision: int, *keys: str, removed: tuple[str, ...] = ()) -> OwnChange:
    return OwnChange(
        environment="local",
        revision=revision,
        head=environment(revision),
        previous_hash=environment(revision - 1).hash,
        event=ChangeEventData(
            environment="local",
            revision=revision,
            kind="edit",
            actor="test",
            message="",
            created_at=NOW,
            keys=sorted((*keys, *removed)),
            properties=False,
        ),
        touched=[*((key, entry(key, revision)) for key in keys), *((key, None) for key in removed)],
    )


def known(revision: int) -> Snapshot:
    return build(environment(revision), [entry("a", 1), entry("b", 1)])


@pytest.mark.parametrize(
    ("at", "revisions"),
    [(0, []), (1, [2, 3]), (2, []), (3, [])],
    ids=["gap", "next", "old", "same"],
)
def test_own_changes_apply_only_to_the_state_before(at: int, revisions: list[int]) -> None:
    leading = own_changes.leading(known(at).environment, [change(2, "a"), change(3, "a")])

    assert [each.revision for each in leading] == revisions


def test_own_changes_end_at_a_change_without_content() -> None:
    plain = Commit(environment="local", revision=3)

    leading = own_changes.leading(known(1).environment, [change(2, "a"), plain, change(4, "a")])

    assert [each.revision for each in leading] == [2]


@pytest.mark.parametrize("member", ["epoch", "hash"])
def test_own_change_of_another_history_is_not_applied(member: str) -> None:
    """A database can be restored between two writes, with or without a new epoch."""
    other = msgspec.structs.replace(environment(1), **{member: "ff"})

    assert own_changes.leading(other, [change(2, "a")]) == []
    assert own_changes.leading(None, [change(2, "a")]) == []


def test_own_changes_together_equal_each_by_itself() -> None:
    changes = [change(2, "a", "c"), change(3, "a", removed=("b",)), change(4, "b")]
    one_by_one = known(1)
    for each in changes:
        one_by_one = own_changes.applied(one_by_one, [each]).snapshot

    together = own_changes.applied(known(1), changes)

    assert together.snapshot.entries == one_by_one.entries
    assert together.snapshot.rules_state == one_by_one.rules_state
    assert [event.revision for event in together.events] == [2, 3, 4]
    assert [event.message for event in together.snapshot.recent] == [
        event.message for event in one_by_one.recent
    ]


async def test_own_change_that_cannot_be_applied_fails_no_write() -> None:
    """The write is committed. The follower reads it from the database instead."""
    follower = Follower(Database(load({}).database))
    follower.adopt({"local": known(1)}, confirmed_at=0.0)
    wrong = replace(change(2, "a"), touched=[("a", msgspec.structs.replace(entry("a", 2), kind=1))])

    follower.committed([wrong])
    unchanged = follower.get("local").revision
    follower.committed([change(2, "a")])

    assert (unchanged, follower.get("local").revision) == (1, 2)
