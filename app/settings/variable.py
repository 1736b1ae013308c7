"""What a variable is, and the words that some of them choose from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Tier(StrEnum):
    LOCAL = "local"
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class Pooler(StrEnum):
    NONE = "none"
    TRANSACTION = "transaction"


@dataclass(frozen=True)
class Variable:
    """One variable. `default` is text as an operator would write it, or one text per tier."""

    name: str
    parse: Callable[[str], Any]
    default: str | Mapping[Tier, str] | None
    help: str
    secret: bool = False
    group: str = ""

    def default_for(self, tier: Tier) -> str | None:
        if isinstance(self.default, Mapping):
            return self.default.get(tier)
        return self.default


def tiers(local: str, development: str, staging: str, production: str) -> Mapping[Tier, str]:
    return dict(zip(Tier, (local, development, staging, production), strict=True))


def group(name: str, *variables: Variable) -> tuple[Variable, ...]:
    return tuple(replace(variable, group=name) for variable in variables)
