"""An environment, as it is stored and as it is answered."""

from typing import Any

import msgspec


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tier: str
    revision: int
    epoch: str
    protected: bool
    fractional: str
    metadata: dict[str, Any]


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Environment]
