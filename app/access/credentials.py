"""The tokens and sessions in memory: requests are authenticated without a query.

`TokenDirectory` reads them from the database, and a relay from its upstream. While that is away,
the last known tokens stay valid. They expire by its clock, not by the clock of this machine.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from prometheus_client import Metric

from app.access.caller import Caller
from app.access.format import token_id
from app.access.mac import holds
from app.access.models import ConsoleSession, Grant, Scope, Token
from app.access.people.directory import PeopleDirectory
from app.access.permissions import Rights
from app.access.sessions.directory import SessionDirectory
from app.components import HealthCheck, ReportScope, Status, gauge
from app.database.polling import PolledCopy
from app.errors import Unauthenticated, Unavailable
from app.settings import Secret

# Ten times the interval of the poll. After that, this instance may accept a token that is revoked
# elsewhere.
CONFIRMED_SECONDS_MAX = 5.0
# The limit of remembered texts that are no valid token.
_REFUSED_MAX = 1_024
# Replaces the token of an unknown ID, so that both refusals take the same time. No text has its
# MAC.
_UNKNOWN = Token(
    id="",
    name="",
    mac=os.urandom(32),
    grant=Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None),
)


class Credentials(PolledCopy):
    """The usable tokens and sessions. A subclass reads them.

    `key` is the key of the tokens' MACs. `on_change` is called after each change.
    """

    # The name of the place that confirms the tokens, for the health report.
    origin: str
    # The key of the MACs that relays check.
    relay_key: Secret

    def __init__(self, key: Secret, *, on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.key = key
        self._on_change = on_change
        self._tokens: dict[str, Token] | None = None
        self.people = PeopleDirectory(key)
        self.sessions = SessionDirectory(key, self.people)
        self._confirmed_at: float | None = None
        # The offset of the origin's clock from ours at the last refresh.
        self._clock_offset = timedelta(0)
        # The callers of tokens that were used since the last change, by ID.
        self._callers: dict[str, Caller] = {}
        # Callers with a valid token since the last change, by a digest of its text.
        self._checked: dict[bytes, tuple[Token, Caller]] = {}
        # Why other texts were refused since then, by the same digest.
        self._refusals: dict[bytes, str] = {}
        # IDs of tokens used since the last flush.
        self.used: set[str] = set()

    @property
    def is_loaded(self) -> bool:
        return self._tokens is not None

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the origin last confirmed the tokens. None if it never did."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    @property
    def now(self) -> datetime:
        """The time by the clock of the database, which decides when a token expires."""
        return datetime.now(UTC) + self._clock_offset

    @property
    def usable(self) -> Mapping[str, Token]:
        """The tokens that are neither revoked nor long expired, by ID."""
        return self._tokens or {}

    @property
    def relayed(self) -> Iterable[Token]:
        """The tokens as relays get them: with the MAC that relays check."""
        raise NotImplementedError

    def use(self, usable: Sequence[Token]) -> None:
        self._tokens = {token.id: token for token in usable}
        self._callers, self._checked, self._refusals = {}, {}, {}
        self._on_change()

    @property
    def saved_key(self) -> str | None:
        """The key that the file on disk needs beside the tokens: that of a relay."""
        return None

    def restore(self, usable: Sequence[Token], saved_key: str | None) -> None:
        """Use the tokens of the file on disk."""
        del saved_key
        self.use(usable)

    def authenticate(self, text: str) -> Caller:
        """Return the caller that this token belongs to.

        Raises Unauthenticated for a token that is absent, malformed, unknown, expired or revoked.
        The client cannot see which. Raises Unavailable before the first refresh.
        """
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        checked = self._checked.get(digest)
        if checked is None:
            token = self._check(text, digest, self._loaded())
            checked = token, self._caller(token)
        token, caller = checked
        # Most tokens never end, and the clock takes a third of the time.
        if token.may_end and token.is_over(self.now):
            raise _refused("expired")
        self._checked[digest] = checked
        self.used.add(token.id)
        return caller

    def caller_of(self, token_id: str) -> Caller | None:
        """Return the caller of a token that was authenticated before, None if it has ended.

        Raises Unavailable before the first refresh.
        """
        token = self._loaded().get(token_id)
        if token is None or (token.may_end and token.is_over(self.now)):
            return None
        self.used.add(token_id)
        return self._caller(token)

    def authenticate_session(self, text: str) -> Caller:
        """Return the caller that this cookie belongs to, and extend the session.

        Raises Unauthenticated and Unavailable, as `find_session` and `caller_of_session`.
        """
        return self.caller_of_session(self.find_session(text), is_visit=True)

    def caller_of_session(self, session: ConsoleSession, *, is_visit: bool) -> Caller:
        """Return the caller of a session that `find_session` returned. `is_visit` extends it.

        Raises Unauthenticated as `SessionDirectory.caller_of`, and Unavailable before the first
        refresh.
        """
        caller = self.sessions.caller_of(session, self._loaded(), self.now, is_visit=is_visit)
        if caller.token_id is not None:
            self.used.add(caller.token_id)
        return caller

    def find_session(self, text: str) -> ConsoleSession:
        """Return the session of this cookie. It may have expired.

        Raises Unauthenticated as `SessionDirectory.find`, and Unavailable before the first refresh.
        """
        self._loaded()
        return self.sessions.find(text)

    def _caller(self, token: Token) -> Caller:
        caller = self._callers.get(token.id)
        if caller is None:
            caller = Caller(token=token, rights=Rights([token.reach]))
            self._callers[token.id] = caller
        return caller

    def _loaded(self) -> Mapping[str, Token]:
        if not self.is_loaded:
            raise Unavailable("starting", "The service has not finished starting.")
        return self.usable

    def _check(self, text: str, digest: bytes, known: Mapping[str, Token]) -> Token:
        """Return the token of a text. Remember why another text is refused."""
        reason = self._refusals.get(digest)
        if reason is None:
            id_ = token_id(text)
            token = _UNKNOWN if id_ is None else known.get(id_, _UNKNOWN)
            if id_ is None:
                reason = "malformed" if text else "absent"
            elif holds(self.key, text, token):
                return token
            else:
                reason = "unknown or revoked" if token is _UNKNOWN else "wrong"
            if len(self._refusals) >= _REFUSED_MAX:
                self._refusals.clear()
            self._refusals[digest] = reason
        raise _refused(reason)

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Warn when the tokens are not confirmed in time: a revoked token may be accepted here.

        Fail when the origin answers, but this instance cannot read the tokens.
        """
        age = self.age_seconds
        is_fresh = age is not None and age < CONFIRMED_SECONDS_MAX
        failure = None if is_fresh else self.failure
        status = Status.PASS if is_fresh else Status.WARN
        return {
            "tokens": HealthCheck(
                status=Status.FAIL if failure else status,
                component_type="datastore",
                observed_value=len(self.usable),
                observed_unit="tokens",
                age_seconds=None if age is None else round(age, 1),
                output=failure
                or (None if is_fresh else f"not confirmed by the {self.origin} within 5 seconds"),
            )
        }

    def metrics(self) -> Iterable[Metric]:
        now = self.now
        ends = (
            token.grant.expires_at
            for token in self.usable.values()
            if token.retires_at is None and not token.is_over(now)
        )
        soonest = min(filter(None, ends), default=None)
        if soonest is not None:
            yield gauge(
                "flagstone_token_soonest_expiry_timestamp_seconds",
                "Unix time at which the next token expires that has no replacement.",
                soonest.timestamp(),
            )


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(
        "token_refused", "Send a valid token in Authorization or X-API-Key.", reason=reason
    )
