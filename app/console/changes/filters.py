"""The filters of the list of changes, from the query of its address."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from aiohttp import web

from app.configuration.changes.history_search import ALL_CHANGE_SETS, ChangeSetFilter
from app.errors import malformed

_TEXT_MAX = 255


@dataclass(frozen=True, kw_only=True)
class ChangeFilters:
    """The filters as typed: a part of a key, an actor, and the first and last day in UTC."""

    key: str = ""
    author: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def read(cls, request: web.Request) -> "ChangeFilters":
        """Return the filters of a query. Raises Malformed for a day that does not exist."""
        query = request.query
        return cls(
            key=query.get("key", "").strip()[:_TEXT_MAX],
            author=query.get("author", "")[:_TEXT_MAX],
            since=_day(query.get("since", ""), "since"),
            until=_day(query.get("until", ""), "until"),
        )

    @property
    def matching(self) -> ChangeSetFilter:
        if not self:
            return ALL_CHANGE_SETS
        return ChangeSetFilter(
            key=self.key or None,
            actors=[self.author] if self.author else None,
            since=_start(self.since) if self.since else None,
            until=_start(self.until + timedelta(days=1)) if self.until else None,
        )

    def __bool__(self) -> bool:
        return bool(self.key or self.author or self.since or self.until)


def _day(text: str, field: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise malformed(field, "must be a day, such as 2026-03-31") from None
    # One day later must exist too.
    if not 1970 <= day.year <= 9998:
        raise malformed(field, "must be a day from 1970 to 9998")
    return day


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
