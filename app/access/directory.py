"""The tokens, sessions and people of the database, in memory.

Fingerprints of all tokens and sessions, and the editions of people and grants, are polled every
half second. So every instance refuses a revoked token, and a suspended person, within a second. A
flood of unknown tokens costs the database nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import asyncpg
from prometheus_client import Metric

from app.access import tokens
from app.access.credentials import Credentials
from app.access.mac import relay_key, relay_mac
from app.access.models import Token
from app.access.people.directory import PARTS
from app.access.sessions import service as sessions
from app.components import HealthCheck, ReportScope
from app.database import Connection, Database, sql
from app.settings import Secret

REFRESH_SECONDS = 0.5
# The payload of the notifications in sql/tokens.sql. That of an environment has a colon.
CHANGE_OF_TOKENS = "tokens"


class SeenToken(NamedTuple):
    """A token without a MAC for relays, whose text was seen: its MAC in the table, and the new one.

    Only tokens of earlier releases lack one.
    """

    id: str
    mac: bytes
    relay_mac: bytes


class TokenDirectory(Credentials):
    """The usable tokens and sessions, at most half a second old."""

    name = "tokens"
    poll_seconds = REFRESH_SECONDS
    failure_event = "tokens_not_refreshed"
    origin = "database"

    def __init__(
        self, database: Database, key: Secret, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(key, on_change=on_change)
        self._database = database
        self._fingerprint: str | None = None
        self._session_fingerprint: str | None = None
        self._refreshing = asyncio.Lock()
        self.relay_key = relay_key(key)
        self._seen: dict[str, SeenToken] = {}

    async def refresh(self) -> None:
        """Read all tokens if any has changed, all sessions if any has, and the people who have.

        Raises Unavailable when the database is away.
        """
        # One at a time: otherwise an older state could overwrite a newer one.
        async with self._refreshing, self._database.connection() as connection:
            # Read the fingerprints first. The next refresh detects changes between the statements.
            asked_at = datetime.now(UTC)
            try:
                row = await sql.get_access_fingerprints(connection)
            except asyncpg.UndefinedTableError:
                await self._read_all(connection)
                return
            self._clock_offset = row["database_time"] - asked_at
            if row["tokens"] != self._fingerprint:
                self.use(await tokens.list_usable(connection))
                self._fingerprint = row["tokens"]
            if row["sessions"] != self._session_fingerprint:
                self.sessions.use(await sessions.list_usable(connection))
                self._session_fingerprint = row["sessions"]
                self._on_change()
            if await self.people.refresh(connection, row["granting"], row["people"]):
                self._on_change()
            self._confirm()

    async def _read_all(self, connection: Connection) -> None:
        """Read everything: the migration of the editions was rolled back under this instance.

        Otherwise it would accept revoked tokens until it ends.
        """
        self.use(await tokens.list_usable(connection))
        self.sessions.use(await sessions.list_usable(connection))
        self._session_fingerprint = None
        edition = str(uuid4())
        await self.people.refresh(connection, edition, dict.fromkeys(PARTS, edition))
        self._on_change()
        self._confirm()

    def _confirm(self) -> None:
        self._confirmed_at = time.monotonic()
        self.failure = None

    @property
    def relayed(self) -> Iterable[Token]:
        """The tokens that have a MAC for relays, without their names."""
        for token in self.usable.values():
            if token.relay_mac is not None:
                yield replace(token, name="", mac=token.relay_mac, relay_mac=None)

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        return {**super().checks(scope), "people": self.people.check()}

    def metrics(self) -> Iterable[Metric]:
        yield from super().metrics()
        yield from self.people.metrics()

    def use(self, usable: Sequence[Token]) -> None:
        super().use(usable)
        self._fingerprint = None

    def take_relay_macs(self) -> Sequence[SeenToken]:
        """Return what to store of tokens that were used and have no MAC for relays."""
        seen, self._seen = self._seen, {}
        return list(seen.values())

    def put_back_relay_macs(self, seen: Sequence[SeenToken]) -> None:
        """Store these with the next flush."""
        self._seen = {token.id: token for token in seen} | self._seen

    def _check(self, text: str, digest: bytes, known: Mapping[str, Token]) -> Token:
        token = super()._check(text, digest, known)
        if token.relay_mac is None and (found := relay_mac(self.relay_key, text, token)):
            self._seen[token.id] = SeenToken(token.id, token.mac, found)
        return token
