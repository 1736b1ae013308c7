"""The extent of a revert or a restore: how much it deletes, creates and changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.configuration.changes.models import Operation
from app.configuration.snapshots.snapshot import Snapshot
from app.names import counted, joined_words


@dataclass(frozen=True, kw_only=True)
class Extent:
    """`parts` are phrases such as "deletes 62 flags"."""

    parts: Sequence[str] = ()
    is_deleting: bool = False

    @property
    def text(self) -> str:
        return joined_words(self.parts)


def extent_of(operations: Sequence[Operation], snapshot: Snapshot) -> Extent:
    """Compare operations with the current entries."""
    entries = snapshot.entries
    kinds: dict[str, list[str]] = {"deletes": [], "creates": [], "changes": []}
    for operation in operations:
        entry, content = entries.get(operation.key), operation.content
        if content is not None:
            kinds["changes" if entry is not None else "creates"].append(content.kind)
        elif entry is not None:
            kinds["deletes"].append(entry.kind)
    parts = [f"{verb} {_counted(of_verb)}" for verb, of_verb in kinds.items() if of_verb]
    return Extent(parts=parts, is_deleting=bool(kinds["deletes"]))


def _counted(kinds: Sequence[str]) -> str:
    """Return the number of keys, as "2 flags" when all are of one kind."""
    return counted(len(kinds), str(kinds[0]) if len(set(kinds)) == 1 else "key")
