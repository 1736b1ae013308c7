"""The declaration of an environment variable, as a field of the settings that it fills."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

Group = TypeVar("Group")

_VARIABLE = "variable"


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


class GrpcAccess(StrEnum):
    LOCAL = "local"
    TOKEN = "token"  # noqa: S105 - a kind of access
    CERTIFICATE = "certificate"
    BEARER = "bearer"


@dataclass(frozen=True)
class Variable:
    """A variable. `default` is text as an operator would write it, or one text per tier."""

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


def variable(
    name: str,
    parse: Callable[[str], Any],
    default: str | Mapping[Tier, str] | None,
    help_: str,
    *,
    secret: bool = False,
) -> Any:
    """Return a dataclass field whose value comes from a variable."""
    return field(metadata={_VARIABLE: Variable(name, parse, default, help_, secret)})


def tiers(local: str, development: str, staging: str, production: str) -> Mapping[Tier, str]:
    return dict(zip(Tier, (local, development, staging, production), strict=True))


def section(title: str, *parts: type[Any] | Variable) -> Iterator[Variable]:
    """Yield variables as a section of `.env.example`. A settings class stands for its variables."""
    for part in parts:
        declared = [part] if isinstance(part, Variable) else _declared(part).values()
        yield from (replace(variable, group=title) for variable in declared)


def filled(group: type[Group], values: Mapping[str, Any], **others: Any) -> Group:
    """Return a settings class with the values of its variables; `others` are computed fields."""
    from_variables = {field: values[v.name] for field, v in _declared(group).items()}
    return group(**from_variables | others)


def _declared(group: type[Any]) -> Mapping[str, Variable]:
    return {f.name: f.metadata[_VARIABLE] for f in fields(group) if _VARIABLE in f.metadata}
