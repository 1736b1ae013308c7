"""The sessions in memory: pages are authenticated without a query.

`TokenDirectory` reads them in the same poll as the tokens. So a session that ends elsewhere is
refused here within a second, and known sessions stay valid while the database is away.
"""

import hmac
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from app.access.caller import Caller
from app.access.format import secret_id
from app.access.models import ConsoleSession, Grant, Scope, Token
from app.access.people.directory import PeopleDirectory
from app.access.people.models import suspended
from app.access.permissions import Rights, narrowed
from app.access.sessions.mac import secret_mac
from app.crypto.derivation import Purpose
from app.errors import Unauthenticated
from app.settings import Secret

IDLE = timedelta(hours=2)
# The reasons of refusals after a regular end, which the access log distinguishes.
EXPIRED = "session expired"
IDLE_TOO_LONG = "session idle for 2 hours"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Stands in for the session of an unknown ID, so that both refusals take the same time. No text has
# its MAC.
_UNKNOWN = ConsoleSession(
    id="",
    mac=os.urandom(32),
    actor="",
    name="",
    grant=Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None),
    created_at=_EPOCH,
    last_seen_at=_EPOCH,
)


class SessionDirectory:
    """The sessions that are not revoked, by ID."""

    def __init__(self, key: Secret, people: PeopleDirectory) -> None:
        self._key = key
        self._people = people
        self._sessions: dict[str, ConsoleSession] = {}
        # When this process last saw each session. The rows are up to 6 minutes older.
        self._last_seen: dict[str, datetime] = {}
        # IDs of sessions seen since the last flush.
        self._unwritten: set[str] = set()

    def use(self, usable: Sequence[ConsoleSession]) -> None:
        self._sessions = {session.id: session for session in usable}
        self._last_seen = {id_: at for id_, at in self._last_seen.items() if id_ in self._sessions}

    def caller_of(
        self, session: ConsoleSession, tokens: Mapping[str, Token], now: datetime, *, is_visit: bool
    ) -> Caller:
        """Return the caller of a session that `find` returned. `tokens` are the usable ones.

        Only a visit extends the session; an open stream does not.

        Raises Unauthenticated for a session that is expired or idle, and for one whose token is no
        longer valid or whose person is suspended.
        """
        expires_at = session.grant.expires_at
        if expires_at is None or expires_at <= now:
            raise refused(EXPIRED)
        if max(session.last_seen_at, self._last_seen.get(session.id, _EPOCH)) + IDLE <= now:
            raise refused(IDLE_TOO_LONG)
        caller = Caller(session=session, rights=self._rights(session, tokens, now))
        if is_visit:
            self._last_seen[session.id] = now
            self._unwritten.add(session.id)
        return caller

    def find(self, text: str) -> ConsoleSession:
        """Return the session of this cookie. It may have expired.

        Raises Unauthenticated for a session that is malformed, unknown or revoked.
        """
        id_ = secret_id(text)
        if id_ is None:
            raise refused("session malformed" if text else "session absent")
        session = self._sessions.get(id_, _UNKNOWN)
        expected = secret_mac(self._key, Purpose.SESSIONS, text, session, session.created_at)
        if not hmac.compare_digest(expected, session.mac):
            is_unknown = session is _UNKNOWN
            raise refused("session unknown or ended" if is_unknown else "session wrong")
        return session

    def _rights(
        self, session: ConsoleSession, tokens: Mapping[str, Token], now: datetime
    ) -> Rights:
        if session.person_id is None:
            return Rights([_grant(session, tokens, now)])
        rights = self._people.rights(session.person_id)
        if rights is None:
            if self._people.is_suspended(session.person_id):
                raise suspended()
            raise refused("session of an unknown person")
        return rights

    def of(self, actor: str) -> ConsoleSession | None:
        """Return a session of an actor, None without one."""
        sessions = self._sessions.values()
        return next((session for session in sessions if session.actor == actor), None)

    def take_seen(self) -> dict[str, datetime]:
        """Return when the sessions were seen that were used since the last call."""
        seen = {id_: self._last_seen[id_] for id_ in self._unwritten & self._last_seen.keys()}
        self._unwritten = set()
        return seen

    def put_back(self, seen: Mapping[str, datetime]) -> None:
        """Write these with the next flush."""
        self._unwritten |= seen.keys()


def refused(reason: str) -> Unauthenticated:
    return Unauthenticated("session_refused", "Your session has ended. Sign in.", reason=reason)


def _grant(session: ConsoleSession, tokens: Mapping[str, Token], now: datetime) -> Grant:
    """Return the rights of a session, at most those that its token has now."""
    if session.token_id is None:
        return session.grant
    token = tokens.get(session.token_id)
    if token is None or token.is_over(now):
        raise refused("session of a token that has ended")
    return narrowed(session.grant, token.reach)
