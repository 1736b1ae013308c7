"""The tokens of the provider that a session needs later, for the refresh and for the logout.

They are sealed with a key derived from TOKEN_KEY. So a reader of the database, or of a backup,
cannot act as a person at the provider.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from app.access.people.sign_in import PersonIdentity
from app.crypto.box import Box, BoxError
from app.crypto.derivation import Purpose, derive
from app.database import Connection, sql
from app.settings import Secret
from app.tasks import jittered

# At least once an hour, also after a failed attempt.
REFRESH_SECONDS = 2_700.0
# The hint is part of a URL, whose length servers limit.
_HINT_LENGTH_MAX = 4_096
_USE_LIFETIME = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A verified person, and what the session needs from the provider later."""

    identity: PersonIdentity
    id_token: str
    refresh_token: str | None
    # The provider's session, which a back-channel logout names.
    sid: str | None
    nonce: str
    # Whether the ID token has the groups.
    has_groups: bool


class StoredTokens(msgspec.Struct, frozen=True, kw_only=True):
    """`hint` is the ID token for the logout, empty if it is too long for a URL."""

    issuer: str
    subject: str
    name: str
    email: str
    nonce: str
    hint: str
    refresh_token: str | None
    # Whether the ID token has the groups. Otherwise the userinfo endpoint has them.
    has_groups: bool


class TokenStore:
    """Seals and opens the tokens of sessions, in the caller's transaction."""

    def __init__(self, key: Secret) -> None:
        self._box = Box(derive(key, Purpose.OIDC_TOKENS))

    async def insert(self, connection: Connection, session_id: str, signed_in: SignedIn) -> None:
        identity = signed_in.identity
        tokens = StoredTokens(
            issuer=identity.issuer,
            subject=identity.subject,
            name=identity.name,
            email=identity.email,
            nonce=signed_in.nonce,
            hint=hint_of(signed_in.id_token),
            refresh_token=signed_in.refresh_token,
            has_groups=signed_in.has_groups,
        )
        await sql.insert_oidc_session(
            connection,
            session_id=session_id,
            issuer=tokens.issuer,
            subject=tokens.subject,
            sid=signed_in.sid,
            sealed=self._seal(session_id, tokens),
            refresh_seconds=None if tokens.refresh_token is None else next_refresh(),
        )

    async def update(
        self,
        connection: Connection,
        session_id: str,
        tokens: StoredTokens,
        *,
        refresh_seconds: float | None = None,
    ) -> None:
        """Replace the tokens of a session. Without the seconds, its lease stays."""
        await sql.update_oidc_session(
            connection,
            session_id=session_id,
            sealed=self._seal(session_id, tokens),
            refresh_seconds=refresh_seconds,
        )

    async def get(self, connection: Connection, session_id: str) -> StoredTokens | None:
        """Return the tokens of a session, None for one that began without the provider."""
        row = await sql.get_oidc_session(connection, session_id=session_id)
        return None if row is None else self.open(session_id, row["sealed"])

    def open(self, session_id: str, sealed: bytes) -> StoredTokens | None:
        """Return the tokens of a row, None if it has another key or was changed by hand."""
        try:
            raw = self._box.open(sealed, session_id.encode())
            return msgspec.json.decode(raw, type=StoredTokens)
        except (BoxError, msgspec.DecodeError):
            return None

    def _seal(self, session_id: str, tokens: StoredTokens) -> bytes:
        return self._box.close(msgspec.json.encode(tokens), session_id.encode())


def next_refresh() -> float:
    """Return the seconds until the next refresh: 41 to 45 minutes, so that sessions spread."""
    return REFRESH_SECONDS - jittered(REFRESH_SECONDS * 0.05, 1)


def hint_of(id_token: str) -> str:
    return id_token if len(id_token) <= _HINT_LENGTH_MAX else ""


async def claim_use(connection: Connection, kind: str, text: str) -> bool:
    """Return whether a state or a logout token is used for the first time, on all instances.

    `kind` separates the two. Both expire before `ClaimsRefresh` deletes the row.
    """
    digest = hashlib.sha256(f"{kind}:{text}".encode(errors="replace")).hexdigest()
    expires_at = datetime.now(UTC) + _USE_LIFETIME
    return await sql.claim_oidc_use(connection, id=digest, expires_at=expires_at) is not None
