"""The expiry of tokens: none by default, and at most 365 days with the scope admin.

The admin token of the local tier does not expire: it is stored in a file on that machine.
"""

from datetime import UTC, datetime, timedelta

from app.access.models import Grant, Scope
from app.errors import invalid

ADMIN_DAYS = 90
ADMIN_DAYS_MAX = 365
DAYS_MAX = 36_500
GRACE_SECONDS = 86_400
GRACE_SECONDS_MAX = 90 * 86_400
SOON_DAYS = 14


def expiry(
    scopes: frozenset[Scope], *, expires_at: datetime | None = None, expires_days: int | None = None
) -> datetime | None:
    """Return the expiry of a new token. Raises Invalid, naming the field."""
    now = datetime.now(UTC)
    if expires_at is not None and expires_days is not None:
        raise invalid("expires_days", "must not be given together with expires_at")
    is_admin = Scope.ADMIN in scopes
    days_max = ADMIN_DAYS_MAX if is_admin else DAYS_MAX
    kind = "an admin token" if is_admin else "a token"
    if expires_at is not None:
        # 5 minutes more, for a client whose clock is ahead.
        if not now < expires_at <= now + timedelta(days=days_max, minutes=5):
            raise invalid(
                "expires_at", f"must be in the future, for {kind} {days_max} days at most"
            )
        return expires_at
    if expires_days is None:
        return now + timedelta(days=ADMIN_DAYS) if is_admin else None
    if not 1 <= expires_days <= days_max:
        raise invalid("expires_days", f"must be from 1 to {days_max} for {kind}")
    return now + timedelta(days=expires_days)


def expiry_of_successor(grant: Grant, created_at: datetime, now: datetime) -> datetime | None:
    """Return the expiry of a token that replaces another: it gets the same lifetime."""
    if grant.expires_at is None:
        return expiry(grant.scopes)
    days_max = ADMIN_DAYS_MAX if Scope.ADMIN in grant.scopes else DAYS_MAX
    return now + min(grant.expires_at - created_at, timedelta(days=days_max))


def remarks(expires_at: datetime | None, *, is_replaced: bool) -> list[str]:
    """Return remarks on a valid token: it expires within 14 days and was not replaced."""
    if expires_at is None or is_replaced:
        return []
    left = expires_at - datetime.now(UTC)
    if not timedelta(0) < left <= timedelta(days=SOON_DAYS):
        return []
    return [f"expires in {left.days} days" if left.days > 1 else "expires within two days"]
