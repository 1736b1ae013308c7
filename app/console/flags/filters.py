"""The filters and the order of the list of flags, as they are in the URL."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from app.errors import malformed
from app.flags.index import FlagIndex
from app.flags.last_evaluations import LastEvaluations
from app.flags.search import Search
from app.flags.summary import FlagState, FlagSummary
from app.flags.usage_report import STALE_DAYS

_RECENT = timedelta(days=7)
_NEVER = datetime.min.replace(tzinfo=UTC)
STATES = {
    "on": "On for all",
    "off": "Off for all",
    "rules": "With rules",
    "split": "With a split",
    "disabled": "Disabled",
}
TYPES = {name: name.capitalize() for name in ("boolean", "string", "number", "object")}
# By key without a parameter.
SORTS = {"changed": "By last change", "evaluated": "By last evaluation"}
TOGGLES = {
    "stale": f"Not evaluated for {STALE_DAYS} days",
    "differs": "Differs from production",
    "week": "Changed this week",
    "mine": "Changed by me",
}


class FlagFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of the list. Empty ones do not restrict it."""

    q: str = ""
    state: str = ""
    prefix: str = ""
    type: str = ""
    stale: bool = False
    differs: bool = False
    week: bool = False
    mine: bool = False
    sort: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that differ from their defaults, for a URL."""
        members: dict[str, Any] = msgspec.to_builtins(self)
        return {name: "true" if value is True else value for name, value in members.items()}

    @property
    def query(self) -> str:
        """The parameters as one text, for a hidden field."""
        return urlencode(self.parameters)

    @property
    def is_restricting(self) -> bool:
        return bool(self.parameters.keys() - {"sort"})


def read_filter(query: Mapping[str, str]) -> FlagFilter:
    """Read the filter from a URL; other parameters are ignored. Raises Malformed."""
    for name, choices in (("state", STATES), ("type", TYPES), ("sort", SORTS)):
        if query.get(name) and query[name] not in choices:
            raise malformed(name, f"must be one of {', '.join(choices)}")
    return FlagFilter(
        q=query.get("q", "").strip(),
        state=query.get("state", ""),
        prefix=query.get("prefix", ""),
        type=query.get("type", ""),
        sort=query.get("sort", ""),
        **{name: query.get(name) == "true" for name in TOGGLES},
    )


@dataclass(frozen=True, kw_only=True)
class ListFacts:
    """Facts that filters need besides the flags.

    `last` is None when the usage is unknown. `production` finds a flag there; it is None in
    production itself and without access to it. `mine` are the keys that the caller has changed.
    """

    now: datetime
    last: LastEvaluations | None = None
    production: Callable[[str], FlagSummary | None] | None = None
    mine: Collection[str] = ()


def select(index: FlagIndex, chosen: FlagFilter, facts: ListFacts) -> list[FlagSummary]:
    """Return the flags that match, in their order: with a search and no other order, best first."""
    flags = index.summaries
    search = Search(chosen.q)
    if search:
        flags = [flag for flag in flags if search.matches(flag.search)]
    for test in _tests(chosen, facts):
        flags = [flag for flag in flags if test(flag)]
    if search and not chosen.sort:
        flags = sorted(flags, key=lambda flag: search.rank(flag.search))
    if chosen.sort == "changed":
        flags = sorted(flags, key=lambda flag: flag.updated_at, reverse=True)
    elif chosen.sort == "evaluated":
        last = facts.last or {}
        flags = sorted(flags, key=lambda flag: last.get(flag.key, _NEVER), reverse=True)
    return flags


def _tests(chosen: FlagFilter, facts: ListFacts) -> list[Callable[[FlagSummary], bool]]:
    tests: list[Callable[[FlagSummary], bool]] = []
    if chosen.state == "split":
        tests.append(lambda flag: flag.rollout.has_split)
    elif chosen.state:
        state = FlagState(chosen.state)
        tests.append(lambda flag: flag.rollout.state is state)
    if chosen.prefix:
        tests.append(lambda flag: flag.key.startswith(chosen.prefix))
    if chosen.type:
        tests.append(lambda flag: flag.type == chosen.type)
    if chosen.week:
        since = facts.now - _RECENT
        tests.append(lambda flag: flag.updated_at >= since)
    if chosen.mine:
        tests.append(lambda flag: flag.key in facts.mine)
    if chosen.stale:
        tests.append(lambda flag: stale_days(flag, facts.last, facts.now) is not None)
    if chosen.differs:
        find = facts.production
        tests.append(lambda flag: find is not None and differs(flag, find(flag.key)))
    return tests


def stale_days(flag: FlagSummary, last: LastEvaluations | None, now: datetime) -> int | None:
    """Return for how many days an enabled flag was not evaluated, None below 30 days.

    A flag that was never evaluated counts from its creation.
    """
    if last is None or flag.rollout.state is FlagState.DISABLED:
        return None
    days = (now - last.get(flag.key, flag.created_at)).days
    return days if days >= STALE_DAYS else None


def differs(flag: FlagSummary, other: FlagSummary | None) -> bool:
    """Return whether another environment serves something else, or lacks the flag."""
    return other is None or other.digest != flag.digest
