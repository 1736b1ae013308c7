"""Tokens, sessions and accesses as plain data for the templates."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import CALLER, TOKENS
from app.access.log_handlers import AccessView
from app.access.models import PERSONAL_SCOPES, SESSION_SCOPES, Scope
from app.access.permissions import Keys
from app.access.sessions.service import SessionView
from app.access.token_views import TokenView
from app.console.actors import NamedActor, actor_of

SCOPE_TEXTS = {
    Scope.EVALUATE: "Evaluate flags. Enough for programs that use an OpenFeature SDK.",
    Scope.READ: "Read flags, settings, segments and their history.",
    Scope.WRITE: "Change them, and propose changes.",
    Scope.PROPOSE: "Propose changes, without making them.",
    Scope.APPROVE: "Approve proposals of others.",
    Scope.REVEAL: "Read secrets in clear.",
    Scope.ADMIN: "Manage tokens and environments, and read the access log.",
    Scope.RELAY: "Feed a relay: flags, settings, segments, and the MACs of tokens. No secrets.",
    Scope.PUBLISH: "Write without approval in an emergency. Each such write is marked.",
}
# Those that people and their roles may have.
PERSON_SCOPE_TEXTS = {scope: text for scope, text in SCOPE_TEXTS.items() if scope in SESSION_SCOPES}
# What these scopes allow for some of the keys only.
_TEXTS_OF_KEYS = {
    Scope.WRITE: "Change them, and propose changes. Properties of environments need all keys.",
    Scope.ADMIN: "Manage the tokens and grants for these keys. The rest needs all keys.",
}
EVENT_TEXTS = {
    AccessEvent.LOGIN_FAIL: "Credential refused",
    AccessEvent.TOKEN_CREATED: "Token created",
    AccessEvent.TOKEN_ROTATED: "Token rotated",
    AccessEvent.TOKEN_REVOKED: "Token revoked",
    AccessEvent.SESSION_CREATED: "Signed in",
    AccessEvent.SESSION_EXPIRED: "Session ended",
    AccessEvent.SESSION_USED_LATE: "Expired session used",
    AccessEvent.CROSS_SITE: "Request of another site",
    AccessEvent.LINK_CREATED: "Sign-in link created",
    AccessEvent.ACCESS_FAIL: "Access refused",
    AccessEvent.PERSON_CREATED: "Person signed in first",
    AccessEvent.PERSON_CHANGED: "Person changed",
    AccessEvent.RIGHTS_CHANGED: "Rights changed",
    AccessEvent.ADMINISTRATION: "Administration",
    AccessEvent.EMERGENCY: "Emergency write",
    AccessEvent.SECRET_READ: "Secret read",
    AccessEvent.RATE_LIMITED: "Too many attempts",
    AccessEvent.SCHEMA_CHANGE: "Schema changed",
    AccessEvent.BACKUP_CREATED: "Backup created",
    AccessEvent.BACKUP_RESTORED: "Backup restored",
}
# The first part that a user agent contains names the browser or the system.
_BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Mac OS X": "macOS",
    "Windows": "Windows",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """A token of the list. `state` is valid, revoked or expired."""

    view: TokenView
    state: str
    creator: NamedActor
    is_own: bool

    @property
    def scopes(self) -> str:
        return scope_words(self.view.scopes)

    @property
    def keys(self) -> Keys:
        return Keys.below(self.view.prefixes)

    @property
    def abilities(self) -> list[tuple[Scope, str]]:
        """Each scope, and what it allows for these keys."""
        texts = SCOPE_TEXTS if self.keys.is_all else SCOPE_TEXTS | _TEXTS_OF_KEYS
        return [(scope, text) for scope, text in texts.items() if scope in self.view.scopes]

    @property
    def is_over(self) -> bool:
        return self.state != "valid"


def token_row(request: web.Request, view: TokenView) -> TokenRow:
    is_expired = view.expires_at is not None and view.expires_at <= datetime.now(UTC)
    return TokenRow(
        view=view,
        state="revoked" if view.revoked_at else "expired" if is_expired else "valid",
        creator=actor_of(request, view.created_by, view.created_by_name),
        is_own=view.id == request[CALLER].token_id,
    )


def token_rows(request: web.Request, views: Sequence[TokenView]) -> list[TokenRow]:
    """Return the tokens, the valid ones first, the latest first."""
    rows = sorted(views, key=lambda view: view.created_at, reverse=True)
    return sorted((token_row(request, view) for view in rows), key=lambda row: row.is_over)


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """A session of the list. `browser` is in words, such as "Firefox on Linux"."""

    view: SessionView
    actor: NamedActor
    browser: str
    way: str
    is_current: bool

    @property
    def scopes(self) -> str:
        return scope_words(self.view.scopes)

    @property
    def keys(self) -> Keys:
        return Keys.below(self.view.prefixes)


def _way(request: web.Request, view: SessionView) -> str:
    kind, _, id_ = view.actor.partition(":")
    if kind == "person":
        is_of_proxy = request.app[TOKENS].people.proxy_subject(id_) is not None
        return "proxy" if is_of_proxy else "provider"
    return "one-time link" if view.token_id is None else "token"


def session_row(request: web.Request, view: SessionView) -> SessionRow:
    return SessionRow(
        view=view,
        actor=actor_of(request, view.actor, view.name),
        browser=browser_words(view.user_agent),
        way=_way(request, view),
        is_current=view.id == request[CALLER].session_id,
    )


def scope_words(scopes: Sequence[str]) -> str:
    """Return the scopes in words. The usual ones are one word, since most sessions have all."""
    if not set(scopes) >= PERSONAL_SCOPES:
        return ", ".join(scopes)
    return "everything, and publish" if Scope.PUBLISH in scopes else "everything"


def browser_words(user_agent: str) -> str:
    """Return the browser and the system that a user agent names, as far as they are known."""
    browser = next((name for part, name in _BROWSERS.items() if part in user_agent), "")
    system = next((name for part, name in _SYSTEMS.items() if part in user_agent), "")
    if not browser:
        words = re.match(r"[\w.-]+", user_agent)
        browser = words[0] if words else "Unknown browser"
    return f"{browser} on {system}" if system else browser


@dataclass(frozen=True, kw_only=True)
class AccessRow:
    """A row of the access log. `event` is in words; an event of a later release has its name."""

    view: AccessView
    event: str
    actor: NamedActor


def access_row(request: web.Request, view: AccessView) -> AccessRow:
    texts = {str(event): text for event, text in EVENT_TEXTS.items()}
    return AccessRow(
        view=view,
        event=texts.get(view.event, view.event),
        actor=actor_of(request, view.actor, view.actor_name),
    )
