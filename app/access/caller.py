"""The caller of a request."""

from dataclasses import dataclass

from app.access.models import ConsoleSession, Grant, Token
from app.access.permissions import Rights

_NO_GRANT = Grant(scopes=frozenset(), environments=frozenset(), expires_at=None)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The token or the session of a request, and what it may do now."""

    rights: Rights
    token: Token | None = None
    session: ConsoleSession | None = None

    @property
    def grant(self) -> Grant:
        """The only grant of a token. Callers with several need `rights`."""
        # A person may have none.
        return self.rights.grants[0] if self.rights.grants else _NO_GRANT

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
