"""An import on the wire: what it answers."""

import msgspec

from app.configuration.changes.views import ChangeView, PropertiesView


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, by key; `properties` when it changed the flag set's metadata.

    `revision` is the new one, or the old one if all was the same.

    `warnings` name what was left out, what a lenient import let pass, and what is probably a
    mistake. After a dry run nothing of it has happened, and `changes` are the differences.
    """

    environment: str
    revision: int
    epoch: str
    created: list[str]
    updated: list[str]
    deleted: list[str]
    unchanged: int
    warnings: list[str]
    changes: list[ChangeView] = []
    properties: PropertiesView | None = None
    dry_run: bool = False
