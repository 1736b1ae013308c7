"""The rows of the list of flags as plain data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from app.console.flags.columns import Column
from app.console.flags.filters import differs, stale_days
from app.console.flags.listing import Listing
from app.console.rendering import Frame
from app.console.templating import exact_time
from app.flags.summary import FlagState, FlagSummary
from app.names import counted

# As in scripts/times.js, which repeats this in the time zone of the reader.
_UNITS = (("second", 60), ("minute", 60), ("hour", 24), ("day", 30))


@dataclass(frozen=True, slots=True)
class Remark:
    """Something unusual. `kind` is the style of its badge, `title` the whole sentence."""

    kind: str
    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A flag in one environment. `flag` None: the environment does not have it."""

    is_current: bool
    flag: FlagSummary | None
    address: str = ""
    evaluated: str = ""
    evaluated_at: str = ""
    is_stale: bool = False
    remarks: Sequence[Remark] = ()


@dataclass(frozen=True, slots=True)
class Row:
    flag: FlagSummary
    address: str
    remark: Remark | None
    cells: Sequence[Cell]


def rows_of(listing: Listing, around: Frame) -> Iterator[Row]:
    """Yield a row for each flag of the page."""
    current = around.environment.name if around.environment is not None else ""
    addresses = [
        around.url_in(column.environment.name, "flags").partition("?") for column in listing.columns
    ]
    for flag in listing.flags:
        name = quote(flag.key, safe="/")
        cells = [
            _cell(flag.key, f"{path}/{name}{mark}{query}", column, listing, current)
            for (path, mark, query), column in zip(addresses, listing.columns, strict=True)
        ]
        address = next(cell.address for cell in cells if cell.is_current)
        yield Row(flag, address, _expiry(flag, listing.now), cells)


def _cell(key: str, address: str, column: Column, listing: Listing, current: str) -> Cell:
    is_current = column.environment.name == current
    flag = column.find(key)
    if flag is None:
        return Cell(is_current, None)
    remarks = list(_remarks(flag, column, listing))
    if column.last is None:
        return Cell(is_current, flag, address, remarks=remarks)
    last = column.last.get(key)
    is_stale = stale_days(flag, column.last, listing.now) is not None
    never = "never evaluated" if is_stale else "not evaluated yet"
    return Cell(
        is_current,
        flag,
        address,
        evaluated=ago(last, listing.now) if last is not None else never,
        evaluated_at=exact_time(last) if last is not None else "",
        is_stale=is_stale,
        remarks=remarks,
    )


def _remarks(flag: FlagSummary, column: Column, listing: Listing) -> Iterator[Remark]:
    if flag.rollout.state is FlagState.INVALID:
        yield Remark("danger", "broken", "This flag cannot be evaluated.")
    if flag.broken_guard:
        yield Remark("danger", "guard fails", f"A guard {flag.broken_guard}.")
    if flag.plan is not None and not flag.plan.is_done:
        text = "plan waits" if flag.plan.is_waiting else "plan"
        yield Remark("warn" if flag.plan.is_waiting else "info", text, f"{flag.plan.line}.")
    production = listing.production
    if production is not None and production is not column:
        other = production.find(flag.key)
        if other is not None and differs(flag, other):
            title = f"It serves something else in {production.environment.name}."
            yield Remark("", f"≠ {production.environment.name}", title)


def _expiry(flag: FlagSummary, now: datetime) -> Remark | None:
    if flag.expires is None:
        return None
    days = (now.date() - flag.expires).days
    if days <= 0:
        return Remark("", f"until {flag.expires}", "This flag is temporary.")
    title = f"This temporary flag was to be removed {counted(days, 'day')} ago."
    return Remark("warn", f"expired {flag.expires}", title)


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a time is, as `5 minutes ago`, and its date after 30 days."""
    amount = (now - moment).total_seconds()
    if amount < 2:
        return "now"
    for unit, size in _UNITS:
        if amount < size:
            count = int(amount)
            return "yesterday" if (unit, count) == ("day", 1) else f"{counted(count, unit)} ago"
        amount /= size
    return f"{moment.day} {moment:%b %Y}"
