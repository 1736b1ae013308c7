"""One page of a long list that is in memory, with links to the pages around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

ROWS_MAX = 50
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class ListedPage(Generic[Row]):
    """The rows of a page. `number` begins at 1, and `count` is the number of all rows."""

    rows: Sequence[Row]
    number: int
    count: int

    @property
    def first(self) -> int:
        """The position of the first row among all rows."""
        return (self.number - 1) * ROWS_MAX + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def is_part(self) -> bool:
        return len(self.rows) < self.count

    @property
    def before(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def following(self) -> int | None:
        return self.number + 1 if self.last < self.count else None


def listed_page(request: web.Request, rows: Sequence[Row]) -> ListedPage[Row]:
    """Return the page that the address names, or the last one before it that has rows."""
    text = request.query.get("page", "")
    wanted = int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 1
    number = max(1, min(wanted, -(-len(rows) // ROWS_MAX)))
    first = (number - 1) * ROWS_MAX
    return ListedPage(rows=rows[first : first + ROWS_MAX], number=number, count=len(rows))
