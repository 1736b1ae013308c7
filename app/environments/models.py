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


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Environment]
