"""The bodies of token requests, and the only response with the text of a token."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.access.expiry import DAYS_MAX, GRACE_SECONDS, GRACE_SECONDS_MAX
from app.access.models import EVERY_KEY, Scope
from app.names import KEY_LENGTH_MAX, PREFIXES_MAX

NAME_MAX = 200

_Prefix = Annotated[str, msgspec.Meta(max_length=KEY_LENGTH_MAX)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its text.

    `expires_at` is the time after which it is refused, by its expiry or by a rotation.
    `last_used_at` is accurate to two minutes. `remarks` say what needs attention.
    """

    id: str
    name: str
    scopes: list[str]
    environments: list[str]
    prefixes: list[str] = msgspec.field(default_factory=lambda: [EVERY_KEY])
    created_by: str
    created_by_name: str = ""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    last_used_at: datetime | None
    remarks: list[str]


class TokenPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page in the order of IDs. `next` is the `after` of the next page, null on the last page."""

    items: list[TokenView]
    next: str | None


class NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to create. Its scopes, environments and prefixes must be among the caller's own.

    It is for the keys that begin with one of the prefixes. The empty prefix is for all keys.

    Without an expiry a token is valid until it is revoked. An admin token is valid for 90 days by
    default, and for at most 365.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=len(Scope))]
    environments: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)]
    prefixes: Annotated[list[_Prefix], msgspec.Meta(min_length=1, max_length=PREFIXES_MAX)] = (
        msgspec.field(default_factory=lambda: [EVERY_KEY])
    )
    expires_at: _Time | None = None
    expires_days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] | None = None


class RotationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The replacement of a token."""

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)] = GRACE_SECONDS


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token. `text` is the token itself: it is shown only once, and not stored."""

    text: str
    token: TokenView
