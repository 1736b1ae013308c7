"""The caller of a request."""

from dataclasses import dataclass

from app.access.models import ConsoleSession, Token
from app.access.permissions import Rights


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The token or the session of a request, and what it may do now."""

    rights: Rights
    token: Token | None = None
    session: ConsoleSession | None = None

    @property
    def actor(self) -> str:
        return self.session.actor if self.session is not None else f"token:{self.token_id}"

    @property
    def name(self) -> str:
        """The name that pages show."""
        holder = self.session or self.token
        return holder.name if holder is not None else ""

    @property
    def token_id(self) -> str | None:
        if self.session is not None:
            return self.session.token_id
        return self.token.id if self.token is not None else None

    @property
    def session_id(self) -> str | None:
        return self.session.id if self.session is not None else None
