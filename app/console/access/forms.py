"""The form of a new token."""

from dataclasses import dataclass

from multidict import MultiMapping

from app.access.models import EVERY_KEY, Scope
from app.errors import invalid

# Days, and their words. Without an expiry, an admin token gets 90 days.
EXPIRIES = (
    ("", "No expiry (90 days with admin)"),
    ("7", "7 days"),
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "365 days"),
)
GRACES = (
    ("0", "none: stop at once"),
    ("3600", "1 hour"),
    ("86400", "1 day"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
)


@dataclass(frozen=True, kw_only=True)
class TokenForm:
    """What the form has: as it was typed, also after an error."""

    name: str = ""
    scopes: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    # A prefix in each line; without one, the token is for all keys.
    prefix_lines: str = ""
    expires_days: str = ""
    # The page to which the page of the new token leads back.
    next: str = ""

    @classmethod
    def of(cls, form: MultiMapping[str]) -> "TokenForm":
        return cls(
            name=form.get("name", "").strip(),
            scopes=tuple(form.getall("scopes", [])),
            environments=tuple(form.getall("environments", [])),
            prefix_lines=form.get("prefixes", ""),
            expires_days=form.get("expires_days", ""),
            next=form.get("next", ""),
        )

    @property
    def granted_scopes(self) -> frozenset[Scope]:
        """The chosen scopes. Raises Invalid."""
        if not set(self.scopes) <= set(Scope):
            raise invalid("scopes", f"must be among {', '.join(Scope)}")
        return frozenset(map(Scope, self.scopes))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The typed prefixes, or that of all keys."""
        lines = (line.strip() for line in self.prefix_lines.splitlines())
        return tuple(filter(None, lines)) or (EVERY_KEY,)

    @property
    def days(self) -> int | None:
        """The chosen lifetime. Raises Invalid."""
        return whole_number("expires_days", self.expires_days) if self.expires_days else None


def whole_number(field: str, text: str) -> int:
    """Return a number of a form. Raises Invalid."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise invalid(field, "must be a whole number")
    return int(text)
