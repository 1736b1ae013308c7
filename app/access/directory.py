"""The tokens in memory: a request is let in or not without asking PostgreSQL.

A notification is a hint that they have changed; the truth is a fingerprint, asked for every half
second, so that a revocation holds on every instance within a second however it came about, and a
flood of unknown tokens costs the database nothing. While the database is away the last known tokens
go on working. They expire by the database's clock, from which this machine's may differ.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from prometheus_client import Metric

from app.access import tokens
from app.access.format import token_id
from app.access.mac import holds
from app.access.models import Caller, Grant, Scope, Token
from app.components import HealthCheck, ReportScope, Status, gauge
from app.database import Connection, Database, sql
from app.database.polling import PolledCopy
from app.errors import Unauthenticated, Unavailable
from app.settings import Secret

REFRESH_SECONDS = 0.5
# The payload of the notifications that sql/tokens.sql sends; an environment's has a colon.
CHANGE_OF_TOKENS = "tokens"
# Ten times the interval. A revocation that other instances know may be unknown here after that.
CONFIRMED_SECONDS_MAX = 5.0
# Stands in for the token of an unknown id, so that both refusals take the same steps. Nobody has a
# text with this MAC.
_NOBODY = Token(
    id="",
    name="",
    mac=os.urandom(32),
    grant=Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None),
)


class TokenDirectory(PolledCopy):
    """Who may call, as of at most half a second ago; `on_change` is called after each change."""

    name = "tokens"
    poll_seconds = REFRESH_SECONDS
    failure_event = "tokens_not_refreshed"

    def __init__(
        self, database: Database, key: Secret, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._database = database
        # The MACs of new tokens are made with it.
        self.key = key
        self._on_change = on_change
        self._tokens: dict[str, Token] | None = None
        self._fingerprint: str | None = None
        self._confirmed_at: float | None = None
        # How far the database's clock is ahead of ours, as of the last refresh.
        self._clock_offset = timedelta(0)
        self._refreshing = asyncio.Lock()
        # Callers whose MAC held since the last change, by a digest: most requests show one of few.
        self._checked: dict[bytes, Caller] = {}
        # The ids of tokens that were shown since somebody last took them from here.
        self.used: set[str] = set()

    async def refresh(self) -> None:
        """Read all tokens, if any has changed. Raises Unavailable when the database is away."""
        # One after the other, or an older state could overwrite a newer one.
        async with self._refreshing, self._database.connection() as connection:
            await self._refresh(connection)

    async def _refresh(self, connection: Connection) -> None:
        # Asked for first: what changes between the two statements is found by the next look.
        asked_at = datetime.now(UTC)
        row = await sql.get_token_fingerprint(connection)
        self._clock_offset = row["database_time"] - asked_at
        if row["fingerprint"] != self._fingerprint:
            self.use(await tokens.list_usable(connection))
            self._fingerprint = row["fingerprint"]
        self._confirmed_at = time.monotonic()
        self.failure = None

    @property
    def is_loaded(self) -> bool:
        return self._tokens is not None

    @property
    def age_seconds(self) -> float | None:
        """How long ago the database said that these are the tokens; None if it never did."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    @property
    def now(self) -> datetime:
        """The time by the database's clock, which decides when a token expires."""
        return datetime.now(UTC) + self._clock_offset

    @property
    def usable(self) -> Mapping[str, Token]:
        """The tokens that are neither revoked nor long expired, by id."""
        return self._tokens or {}

    @property
    def soonest_expiry(self) -> datetime | None:
        """When the next token expires of those that nobody has seen to by replacing them."""
        now = self.now
        ends = (
            token.grant.expires_at
            for token in self.usable.values()
            if token.retires_at is None and not token.is_over(now)
        )
        return min(filter(None, ends), default=None)

    def use(self, usable: Sequence[Token]) -> None:
        self._tokens = {token.id: token for token in usable}
        self._checked = {}
        self._fingerprint = None
        self._on_change()

    def authenticate(self, text: str) -> Caller:
        """Return who shows this token.

        Raises Unauthenticated, the same for every reason: absent, malformed, unknown, expired or
        revoked; Unavailable before the tokens were read for the first time.
        """
        if self._tokens is None:
            raise Unavailable("starting", "The service has not finished starting.")
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        caller = self._checked.get(digest)
        if caller is None:
            token = self._check(text, self._tokens)
            caller = Caller(token=token, grant=token.reach)
        if caller.token.is_over(self.now):
            raise _refused("expired")
        self._checked[digest] = caller
        self.used.add(caller.token.id)
        return caller

    def _check(self, text: str, known: Mapping[str, Token]) -> Token:
        """Return the token whose text this is. Raises Unauthenticated."""
        found = token_id(text)
        if found is None:
            raise _refused("malformed" if text else "absent")
        token = known.get(found, _NOBODY)
        if not holds(self.key, text, token):
            raise _refused("unknown or revoked" if token is _NOBODY else "wrong")
        return token

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Report tokens that were not confirmed in time: a revoked one may be accepted here.

        A failure of this instance is worse than a database that is away.
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
                output=failure or (None if is_fresh else "not confirmed by the database of late"),
            )
        }

    def metrics(self) -> Iterable[Metric]:
        soonest = self.soonest_expiry
        if soonest is not None:
            yield gauge(
                "flagstone_token_soonest_expiry_timestamp_seconds",
                "When the next token expires that holds and that no other has replaced.",
                soonest.timestamp(),
            )


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated("token_refused", "A valid token is needed for this.", reason=reason)
