"""A flag in one line: its type, its state, and in words what it serves to whom."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

import msgspec
from msgspec import UNSET

from app.configuration.snapshots.snapshot import Configuration
from app.evaluation.needs import prerequisites_of
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, Outcome, Targeting, VariantSplit
from app.flags.editing import Definition
from app.flags.plan_words import PlanMark, plan_mark
from app.flags.search import SearchText
from app.flags.wording import in_force, percent_text
from app.names import counted

# More parts of a split do not fit into one line.
_SHARES_SHOWN = 3
_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    ((int, float), "number"),
    (dict, "object"),
)
_SERVING = (
    "state",
    "variants",
    "defaultVariant",
    "targeting",
    "plan",
    "prerequisites",
    "offVariant",
)
# The members of the metadata that the console shows. OFREP sends metadata to the clients.
OWNER, TAGS, EXPIRES = "owner", "tags", "expires"


class FlagState(StrEnum):
    """How a flag serves variants: one to all (`on`, `off`), by conditions, or by shares.

    `off` is the variant false. A disabled flag serves nothing, so programs use their own default.
    """

    ON = "on"
    OFF = "off"
    RULES = "rules"
    SPLIT = "split"
    DISABLED = "disabled"
    INVALID = "invalid"


class Rollout(msgspec.Struct, frozen=True):
    """The state of a flag, and its description. `has_split`: also within rules."""

    state: FlagState
    text: str
    has_split: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSummary:
    """A flag as lists show it. Two flags serve the same if their digests are equal.

    `broken_guard` says which guard fails, and is empty if none does. A flag with a plan is shown as
    it is in force now.
    """

    key: str
    description: str
    type: str
    owner: str
    tags: tuple[str, ...]
    expires: date | None
    rollout: Rollout
    version: int
    created_at: datetime
    updated_at: datetime
    digest: int
    search: SearchText
    broken_guard: str = ""
    plan: PlanMark | None = None

    @property
    def prefixes(self) -> list[str]:
        """Each part of the key that ends with a slash, the shortest first."""
        return [self.key[: at + 1] for at, character in enumerate(self.key) if character == "/"]


def summary_of(configuration: Configuration, broken_guard: str = "") -> FlagSummary:
    """Return the summary of a flag. A lenient import may have stored any object."""
    value = configuration.value
    definition: Definition = value if isinstance(value, dict) else {}
    variants, metadata = _object(definition, "variants"), _object(definition, "metadata")
    owner, tags = owner_of(definition), tags_of(definition)
    description = configuration.description or ""
    return FlagSummary(
        key=configuration.key,
        description=description,
        type=type_of(variants),
        owner=owner,
        tags=tags,
        expires=_date(metadata.get(EXPIRES)),
        rollout=rollout_of(in_force(definition)),
        version=configuration.version,
        created_at=configuration.created_at,
        updated_at=configuration.updated_at,
        digest=hash(msgspec.json.encode(_served(definition), order="sorted")),
        search=SearchText.of(configuration.key, [*variants, owner, *tags, description]),
        broken_guard=broken_guard,
        plan=plan_mark(definition, int(time.time())),
    )


def owner_of(definition: Mapping[str, Any]) -> str:
    # Files of other tools have the owner beside the metadata.
    return str(_object(definition, "metadata").get(OWNER) or definition.get(OWNER) or "")


def tags_of(definition: Mapping[str, Any]) -> tuple[str, ...]:
    text = str(_object(definition, "metadata").get(TAGS, ""))
    return tuple(filter(None, map(str.strip, text.split(","))))


def type_of(variants: Mapping[str, Any]) -> str:
    """Return the type that all variants have, empty if they have none in common."""
    for types, name in _TYPES:
        if variants and all(_is_of(value, types) for value in variants.values()):
            return name
    return ""


def _is_of(value: Any, types: type | tuple[type, ...]) -> bool:
    # In Python a bool is an int.
    return isinstance(value, types) and (types is bool or not isinstance(value, bool))


def rollout_of(definition: Definition) -> Rollout:
    """Return in words what a definition serves, such as `25 % of everyone` or `3 rules`.

    A flag with prerequisites serves this to those for whom they hold.
    """
    rollout = _rollout_of(definition)
    needs = list(prerequisites_of(definition))
    if not needs or rollout.state in (FlagState.DISABLED, FlagState.INVALID):
        return rollout
    shown = needs[0].flag if len(needs) == 1 else counted(len(needs), "flag")
    state = FlagState.RULES if rollout.state is FlagState.ON else rollout.state
    return Rollout(state, f"{rollout.text} if {shown} allow{'s' if len(needs) == 1 else ''} it")


def _rollout_of(definition: Definition) -> Rollout:
    if definition.get("state") == "DISABLED":
        return Rollout(FlagState.DISABLED, "disabled")
    if definition.get("state") != "ENABLED" or not _object(definition, "variants"):
        return Rollout(FlagState.INVALID, "cannot be evaluated")
    tree = read(definition.get("targeting") or {})
    if isinstance(tree, Advanced):
        return Rollout(FlagState.RULES, "rules in JSON")
    if tree.shorthand is not None:
        return Rollout(FlagState.RULES, "1 rule")
    rest = None if tree.otherwise is UNSET else tree.otherwise
    return _of_rules(definition, tree, rest) if tree.rules else _without_rules(definition, rest)


def _without_rules(definition: Definition, rest: Outcome) -> Rollout:
    if isinstance(rest, VariantSplit) and len(shares := list(_shares(definition, rest))) > 1:
        everyone = _split_text(definition, rest, shares)
        return Rollout(FlagState.SPLIT, everyone, has_split=True)
    name = _single(definition, rest)
    state = FlagState.OFF if _is_off(definition, name) else FlagState.ON
    return Rollout(state, f"{_shown(definition, name)} for all")


def _of_rules(definition: Definition, tree: Targeting, rest: Outcome) -> Rollout:
    text = counted(len(tree.rules), "rule")
    has_split = any(isinstance(rule.outcome, VariantSplit) for rule in tree.rules)
    if isinstance(rest, VariantSplit) and len(shares := list(_shares(definition, rest))) > 1:
        others = _split_text(definition, rest, shares, "others")
        return Rollout(FlagState.RULES, f"{text}, {others}", has_split=True)
    name = _single(definition, rest)
    if not _is_off(definition, name):
        text = f"{text}, else {_shown(definition, name)}"
    return Rollout(FlagState.RULES, text, has_split)


def _shares(definition: Definition, split: VariantSplit) -> Iterator[tuple[str | None, int]]:
    for share in split.shares:
        if share.parts > 0:
            yield _name(definition, share.variant), share.parts


def _split_text(
    definition: Definition,
    split: VariantSplit,
    shares: list[tuple[str | None, int]],
    whom: str = "everyone",
) -> str:
    total = sum(parts for _, parts in shares)
    by = f" by {split.attribute.name}" if split.attribute is not None else ""
    served = [(name, parts) for name, parts in shares if not _is_off(definition, name)]
    if len(shares) == 2 and len(served) == 1 and type_of(definition["variants"]) == "boolean":
        return f"{_percent(served[0][1], total)} of {whom}{by}"
    if len(shares) > _SHARES_SHOWN:
        return f"split of {whom} in {len(shares)}{by}"
    parts = (f"{_percent(parts, total)} {_shown(definition, name)}" for name, parts in shares)
    others = "" if whom == "everyone" else f" of {whom}"
    return f"{', '.join(parts)}{others}{by}"


def _percent(parts: int, total: int) -> str:
    # With a space where no line breaks.
    return percent_text(Fraction(parts, total)).replace(" ", "\N{NO-BREAK SPACE}")


def _single(definition: Definition, outcome: Outcome) -> str | None:
    """Return the variant of an outcome that is no split, or a split of only one part."""
    if isinstance(outcome, VariantSplit):
        names = [name for name, _ in _shares(definition, outcome)]
        return names[0] if names else _name(definition, None)
    return _name(definition, outcome)


def _name(definition: Definition, outcome: Outcome) -> str | None:
    if isinstance(outcome, bool):
        return "true" if outcome else "false"
    name = definition.get("defaultVariant") if outcome is None else outcome
    return name if isinstance(name, str) else None


def _is_off(definition: Definition, name: str | None) -> bool:
    return name is not None and definition["variants"].get(name) is False


def _shown(definition: Definition, name: str | None) -> str:
    """Return a variant as `on` or `off` if its value is true or false, else its name."""
    if name is None:
        return "the program's default"
    value = definition["variants"].get(name)
    if isinstance(value, bool):
        return "on" if value else "off"
    return name


def _served(definition: Definition) -> Definition:
    """Return the members that decide which value a context gets."""
    return {name: definition[name] for name in _SERVING if definition.get(name)}


def _object(definition: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = definition.get(name)
    return value if isinstance(value, dict) else {}


def _date(value: Any) -> date | None:
    """Return the day of `2026-12-31` or of a time that begins with it."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
