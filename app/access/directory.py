"""The tokens in memory: a request is let in or not without asking PostgreSQL.

Read whole every half second, so that a revocation holds on every instance within a second, and a
flood of unknown tokens costs the database nothing. While the database is away the last known
tokens go on working, and expire by this machine's clock.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence

from app.access import tokens
from app.access.format import token_id
from app.access.models import Caller, Token
from app.database import Database
from app.errors import Unauthenticated, Unavailable
from app.log import logger
from app.settings import Secret
from app.tasks import repeat

log = logger(__name__)

REFRESH_SECONDS = 0.5


class TokenDirectory:
    """Who may call, as of at most half a second ago."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tokens: dict[str, Token] | None = None
        self._key = Secret("")
        # Compared with when the id is unknown, so that both refusals take the same steps.
        self._nobody = os.urandom(32)
        # Callers whose MAC held since the last refresh, by a digest: most requests show one of few.
        self._checked: dict[bytes, Caller] = {}

    def use_key(self, key: Secret) -> None:
        self._key = key

    async def refresh(self) -> None:
        """Read all tokens. Raises Unavailable when the database is away."""
        async with self._database.connection() as connection:
            self.use(await tokens.list_usable(connection))

    @property
    def is_loaded(self) -> bool:
        return self._tokens is not None

    @property
    def usable(self) -> Mapping[str, Token]:
        """The tokens that are neither revoked nor long expired, by id."""
        return self._tokens or {}

    def use(self, usable: Sequence[Token]) -> None:
        self._tokens = {token.id: token for token in usable}
        self._checked = {}

    async def run(self) -> None:
        """Refresh for ever; go on with what is known while the database is away."""
        await repeat(lambda: REFRESH_SECONDS, self._refresh_if_possible)

    async def _refresh_if_possible(self) -> None:
        try:
            await self.refresh()
        except Unavailable as error:
            # The pool has said it already, and heartbeats go on saying it.
            log.debug("tokens_not_refreshed", code=error.code)
        except Exception as error:  # noqa: BLE001 - one failure must not end the refreshing
            log.warning("tokens_not_refreshed", error=type(error).__name__)

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
            caller = Caller(token=self._check(text, self._tokens))
        if caller.token.grant.is_expired:
            raise _refused("expired")
        self._checked[digest] = caller
        return caller

    def _check(self, text: str, known: Mapping[str, Token]) -> Token:
        """Return the token whose text this is. Raises Unauthenticated."""
        found = token_id(text)
        if found is None:
            raise _refused("malformed" if text else "absent")
        token = known.get(found)
        if token is None:
            hmac.compare_digest(hmac.digest(self._nobody, text.encode(), "sha256"), self._nobody)
            raise _refused("unknown or revoked")
        expected = tokens.mac(self._key, text, token.grant)
        if not hmac.compare_digest(expected, token.mac):
            raise _refused("wrong")
        return token


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated("token_refused", "A valid token is needed for this.", reason=reason)
