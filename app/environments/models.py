"""An environment, as it is stored and as it is answered."""

from typing import Any

import msgspec


class Properties(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment says of itself: its flag set's metadata, which generation of bucketing it
    has, whether it must not be deleted. `version` counts the changes of any of them.
    """

    metadata: dict[str, Any]
    fractional: str
    protected: bool
    version: int


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """`hash`, in hex, is that of the latest change set, and so names the whole history.

    Null while no change set is chained; see `changes/chain.py`. `version` is that of the
    properties: metadata, fractional and protected. `first_revision` is above 1 where revisions
    before it are of a deleted environment of the same name.
    """

    name: str
    tier: str
    revision: int
    epoch: str
    hash: str | None
    protected: bool
    fractional: str
    metadata: dict[str, Any]
    # What an earlier release has left on disk has none.
    version: int = 1
    first_revision: int = 1

    @property
    def properties(self) -> Properties:
        return Properties(
            metadata=self.metadata,
            fractional=self.fractional,
            protected=self.protected,
            version=self.version,
        )

    def at(self, revision: int, properties: Properties) -> "Environment":
        """Return the same, as of an earlier revision; its hash then is not told."""
        if revision == self.revision:
            return self
        then = msgspec.structs.asdict(properties)
        return msgspec.structs.replace(self, revision=revision, hash=None, **then)


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Environment]
