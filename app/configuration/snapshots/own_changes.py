"""Apply the change sets of this process to its snapshot, without a query.

A change set is applied only to the state that it was written to. In every other case the follower
reads the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.configuration.snapshots.change_event import ChangeEvent, ChangeEventData
from app.configuration.snapshots.loading import Advance, Touched
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Commit
from app.environments.models import Environment


@dataclass(frozen=True, kw_only=True)
class OwnChange(Commit):
    """A committed change of a few settings, flags and secrets, as PostgreSQL has stored it.

    `head` is the environment after the change, `previous_hash` its hash before, in hex. Other
    changes are reported as a `Commit`: of properties, of segments and of many keys.
    """

    head: Environment
    previous_hash: str | None
    event: ChangeEventData
    touched: Sequence[Touched]

    def follows(self, environment: Environment) -> bool:
        """Return whether this is the next change set of the environment's history."""
        return (
            self.head.epoch == environment.epoch
            and self.head.revision == environment.revision + 1
            and self.previous_hash == environment.hash
        )


def leading(head: Environment | None, commits: Sequence[Commit]) -> Sequence[OwnChange]:
    """Return the first commits, as long as each follows the state before it."""
    changes: list[OwnChange] = []
    for commit in commits:
        if head is None or not isinstance(commit, OwnChange) or not commit.follows(head):
            break
        changes.append(commit)
        head = commit.head
    return changes


def applied(known: Snapshot, changes: Sequence[OwnChange]) -> Advance:
    """Return the snapshot after consecutive changes. It is copied once for all of them."""
    events = [ChangeEvent(change.head.epoch, change.event) for change in changes]
    touched = {key: entry for change in changes for key, entry in change.touched}
    snapshot = known.advanced(changes[-1].head, touched.items(), events)
    return Advance(snapshot=snapshot, events=events)
