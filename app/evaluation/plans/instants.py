"""Instants in plans: RFC 3339 with an offset, or a local time with an IANA zone (RFC 9557).

Plans are stored in UTC. A zone occurs only in what a client sends, so evaluation reads no zones.
"""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.0+)?([Zz]|[+-]\d\d:\d\d)?(?:\[([^\]]+)\])?"
)
_EXAMPLES = "such as 2026-12-01T09:00:00Z or 2026-12-01T09:00:00[Europe/Berlin]"
FORM_RULE = f"must be a whole second with an offset or a zone, {_EXAMPLES}"
_ZONE_LENGTH_MAX = 64
# Files beside the zones: that of the host, and zones that count leap seconds.
_NOT_IN_IANA = ("localtime", "posix", "right/")
# The first second of the year 10000.
SECONDS_END = 253_402_300_800


class InstantError(ValueError):
    """The rule that a text breaks."""


def parse(text: object) -> int:
    """Return the Unix seconds of an instant. Raises InstantError."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InstantError(FORM_RULE)
    date, time, offset, zone = found.groups()
    if offset is None and zone is None:
        raise InstantError(f"needs an offset or a zone, {_EXAMPLES}")
    try:
        local = datetime.fromisoformat(f"{date}T{time}")
        fixed = datetime.fromisoformat(f"{date}T{time}{offset.upper()}") if offset else None
        seconds = None if fixed is None else int(fixed.timestamp())
    except ValueError:
        raise InstantError("must be a date and a time that exist") from None
    if zone is not None:
        seconds = _in_zone(local, zone, seconds)
    if seconds is None or not 0 <= seconds < SECONDS_END:
        raise InstantError("must be a date from 1970 to 9999, in UTC")
    return seconds


def text_of(seconds: int) -> str:
    """Return the text of an instant in UTC, as plans store it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _in_zone(local: datetime, name: str, fixed: int | None) -> int:
    """Return the instant of a local time. `fixed` is the instant that its offset gives, if any."""
    zone = _zone(name)
    try:
        instants = {
            int(local.replace(tzinfo=zone, fold=fold).timestamp())
            for fold in (0, 1)
            if _exists(local.replace(tzinfo=zone, fold=fold))
        }
    except (OverflowError, ValueError):
        raise InstantError("must be a date and a time that exist") from None
    if not instants:
        raise InstantError(f"does not exist in {name}: the clocks are put forward at this time")
    if fixed is not None:
        if fixed not in instants:
            raise InstantError(f"has an offset that {name} does not have at this time")
        return fixed
    if len(instants) > 1:
        rule = f"occurs twice in {name}: the clocks are put back at this time"
        raise InstantError(f"{rule}. Add the offset")
    return instants.pop()


def _exists(local: datetime) -> bool:
    back = local.astimezone(UTC).astimezone(local.tzinfo)
    return back.replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0)


def _zone(name: str) -> ZoneInfo:
    unknown = InstantError("names no time zone of the IANA database")
    if name.startswith(_NOT_IN_IANA):
        raise unknown
    try:
        return ZoneInfo(name[:_ZONE_LENGTH_MAX])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise unknown from None
