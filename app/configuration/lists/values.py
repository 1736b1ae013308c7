"""Check a value of a list and its expiry."""

import re
from datetime import datetime

import msgspec

from app.evaluation.lists import VALUE_LENGTH_MAX

# Documents and uploads have one value in a line. PostgreSQL stores no surrogates.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
VALUE_RULE = f"must have 1 to {VALUE_LENGTH_MAX} characters and no control characters"
EXPIRY_RULE = "must be a time with its offset from 1970 on, such as 2027-01-31T09:30:00Z"


class ListValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value with the time from which it does not match any more, to the second."""

    value: str
    expires_at: datetime | None = None


class ValueRuleError(ValueError):
    """A value or an expiry breaks a rule, which is the text."""


def checked_value(value: str) -> str:
    """Return the value. Raises ValueRuleError."""
    if not 1 <= len(value) <= VALUE_LENGTH_MAX or _REFUSED.search(value):
        raise ValueRuleError(VALUE_RULE)
    return value


def expiry_of(time: datetime | None) -> int | None:
    """Return the Unix second of an expiry; a fraction is dropped. Raises ValueRuleError."""
    if time is None:
        return None
    try:
        second = int(time.timestamp())
    except (OverflowError, ValueError):
        raise ValueRuleError(EXPIRY_RULE) from None
    if time.tzinfo is None or second <= 0:
        raise ValueRuleError(EXPIRY_RULE)
    return second


def read_expiry(text: str) -> int | None:
    """Return the expiry in a line of a file, None for an empty text. Raises ValueRuleError."""
    if not text:
        return None
    try:
        return expiry_of(datetime.fromisoformat(text))
    except ValueError:
        raise ValueRuleError(EXPIRY_RULE) from None
