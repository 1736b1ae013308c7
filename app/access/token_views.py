"""Tokens on the wire: what is sent, and the one answer that has a token's text."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.access.expiry import DAYS_MAX, GRACE_SECONDS, GRACE_SECONDS_MAX
from app.access.models import Scope
from app.access.tokens import NAME_MAX, TokenView

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST. Scopes and environments are at most the caller's own. Without an expiry a
    token holds until it is revoked; with the scope admin 90 days, and at most 365.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=len(Scope))]
    environments: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)]
    expires_at: _Time | None = None
    expires_days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] | None = None


class NewRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old token goes on beside the new one."""

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)] = GRACE_SECONDS


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """`text` is what to show from now on. It is told this once, and stored nowhere."""

    text: str
    token: TokenView
