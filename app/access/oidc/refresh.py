"""Refresh the claims of each session about every 45 minutes, so that lost groups take effect.

One instance at a time refreshes a session. It stores a new refresh token before it uses the answer:
the provider accepts the old one no more. While the provider is away, sessions stay as they are.
An answer is dropped if the person has signed in since the question, which is then asked again.
"""

import time
from datetime import datetime
from typing import Any

import msgspec

from app.access.events import Origin
from app.access.log import AccessLog
from app.access.oidc.claims import has_groups
from app.access.oidc.client import ProviderFault
from app.access.oidc.flow import OidcSignIn, token_in
from app.access.oidc.id_tokens import check_access_token, check_id_token
from app.access.oidc.signatures import KeyUnknownError, TokenError, check_kind
from app.access.oidc.stored_tokens import StoredTokens, hint_of, next_refresh
from app.access.people.sign_in import renew_claims
from app.access.sessions import service as sessions
from app.access.sessions.directory import IDLE
from app.components import Component
from app.database import Connection, Database, sql
from app.errors import Forbidden, Invalid, Unavailable
from app.log import logger
from app.tasks import Backoff, repeat

log = logger(__name__)

POLL_SECONDS = 15.0
# Also the pause after a failed attempt.
LEASE_SECONDS = 300.0
_SESSIONS_PER_RUN_MAX = 200
_ORIGIN = Origin(actor="system:oidc")


class ClaimsRefresh(Component):
    """Refreshes the claims of the sessions of people."""

    name = "oidc_refresh"

    def __init__(self, database: Database, sign_in: OidcSignIn, access_log: AccessLog) -> None:
        self._database = database
        self._sign_in = sign_in
        self._provider = sign_in.provider
        self._access_log = access_log
        self.store = sign_in.store

    async def run(self) -> None:
        await repeat(lambda: POLL_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Delete old rows, and refresh the sessions that are due.

        Stop when the provider or the database fails.
        """
        try:
            await self._database.transact(sql.delete_ended_oidc_sessions)
            await self._database.transact(sql.delete_expired_oidc_uses)
            for _ in range(_SESSIONS_PER_RUN_MAX):
                row = await self._database.transact(
                    lambda c: sql.claim_oidc_refresh(
                        c, lease_seconds=LEASE_SECONDS, idle_seconds=IDLE.total_seconds()
                    )
                )
                if row is None:
                    return
                await self._refresh(row["session_id"], row["sealed"], row["claims_at"])
        except ProviderFault as fault:
            self._count("provider_failed")
            self._provider.note_failure(str(fault))
        except Unavailable:
            # The database is away, which its own checks report.
            self._count("database_away")

    async def _refresh(self, session_id: str, sealed: bytes, claims_at: datetime | None) -> None:
        tokens = self.store.open(session_id, sealed)
        if tokens is None or tokens.refresh_token is None:
            await self._end(session_id, "oidc: stored tokens cannot be opened")
            return
        if tokens.issuer != self._provider.audience.issuer:
            # The token of one provider is not for another one.
            await self._end(session_id, "oidc: OIDC_ISSUER has changed")
            return
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        status, answer = await self._provider.exchange(form)
        if status != 200:
            if answer.get("error") != "invalid_grant":
                raise ProviderFault("The provider's token endpoint refuses to refresh claims.")
            await self._end(session_id, "oidc: ended by the provider")
            return
        if (rotated := token_in(answer, "refresh_token")) is not None:
            tokens = msgspec.structs.replace(tokens, refresh_token=rotated)
            await self._store_rotated(session_id, tokens)
        try:
            await self._use(session_id, tokens, answer, claims_at)
        except KeyUnknownError as error:
            raise ProviderFault(f"The provider's token endpoint: {error}.") from None
        except TokenError as error:
            await self._end(session_id, f"oidc: {error}")
        except (Forbidden, Invalid) as error:
            await self._end(session_id, f"oidc: {error.code}")

    async def _store_rotated(self, session_id: str, tokens: StoredTokens) -> None:
        """Store a new refresh token. Try again until the lease ends: it exists nowhere else."""
        backoff, limit = Backoff(0.2, 10.0), time.monotonic() + LEASE_SECONDS
        while True:
            try:
                return await self._database.transact(
                    lambda c: self.store.update(c, session_id, tokens)
                )
            except Unavailable:
                if time.monotonic() > limit:
                    raise
                await backoff.pause()

    async def _use(
        self,
        session_id: str,
        tokens: StoredTokens,
        answer: dict[str, Any],
        claims_at: datetime | None,
    ) -> None:
        """Store the claims of an answer. Raises TokenError, Forbidden and Invalid."""
        claims = await self._claims(tokens, answer)
        if (text := token_in(answer, "id_token")) is not None:
            tokens = msgspec.structs.replace(tokens, hint=hint_of(text))

        async def work(connection: Connection) -> bool:
            is_newest = True
            if claims is not None:
                is_newest = await renew_claims(
                    *(connection, self._access_log, self._sign_in.key),
                    self._sign_in.identity(claims),
                    origin=_ORIGIN,
                    asked_after=claims_at,
                )
            seconds = next_refresh() if is_newest else 0.0
            await self.store.update(connection, session_id, tokens, refresh_seconds=seconds)
            return is_newest

        if await self._database.transact(work):
            self._count("ok")
        else:
            self._count("superseded")
            log.info("oidc_answer_dropped", session=session_id, reason="newer claims are stored")

    async def _claims(self, tokens: StoredTokens, answer: dict[str, Any]) -> dict[str, Any] | None:
        """Return the verified claims of an answer, None if it says nothing of the groups.

        Raises TokenError and ProviderFault.
        """
        text, access_token = token_in(answer, "id_token"), token_in(answer, "access_token") or ""
        if text is not None:
            token = await self._provider.verified(text)
            check_kind(token)
            check_id_token(
                token.claims,
                self._provider.audience,
                now=time.time(),
                nonce=tokens.nonce,
                subject=tokens.subject,
            )
            check_access_token(token.claims, token.algorithm, access_token)
            return await self._sign_in.with_groups(token.claims, access_token)
        found = await self._provider.user_info(access_token) if access_token else None
        if found is None:
            return None
        if found.get("sub") != tokens.subject:
            raise TokenError("the userinfo endpoint answers for another person")
        # What only the ID token had is not lost: this answer does not contradict it.
        is_silent = tokens.has_groups and not has_groups(
            found, self._provider.settings.groups_claim
        )
        return None if is_silent else {"name": tokens.name, "email": tokens.email, **found}

    async def _end(self, session_id: str, detail: str) -> None:
        await self._database.transact(
            lambda c: sessions.end_by_provider(
                c, self._access_log, [session_id], detail=detail, origin=_ORIGIN
            )
        )
        self._count("ended")
        log.info("oidc_session_ended", session=session_id, reason=detail)

    def _count(self, result: str) -> None:
        self._provider.results["refresh", result] += 1
