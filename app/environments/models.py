"""An environment, as it is stored and as it is answered."""

from typing import Any

import msgspec


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """`hash`, in hex, is that of the latest change set, and so names the whole history.

    Null while no change set is chained; see `changes/chain.py`.
    """

    name: str
    tier: str
    revision: int
    epoch: str
    hash: str | None
    protected: bool
    fractional: str
    metadata: dict[str, Any]

    def at(self, revision: int) -> "Environment":
        """Return the same, as of an earlier revision; its hash then is not told."""
        if revision == self.revision:
            return self
        return msgspec.structs.replace(self, revision=revision, hash=None)


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Environment]
