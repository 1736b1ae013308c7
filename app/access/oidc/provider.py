"""The provider in memory: its discovery document and its keys, read again each hour.

The service starts without them. After a token with an unknown key or a wrong signature it reads the
keys again, at most every 10 seconds. So the provider may rotate its keys at any time.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import aiohttp
from aiohttp import hdrs
from prometheus_client import Metric

from app.access.oidc.client import ProviderClient, ProviderFault
from app.access.oidc.discovery import Metadata, address_of, read_metadata
from app.access.oidc.id_tokens import Audience
from app.access.oidc.signatures import (
    KeyChangedError,
    KeyUnknownError,
    VerifiedToken,
    import_keys,
    verified_claims,
)
from app.components import Component, HealthCheck, ReportScope, Status, counters, gauge
from app.log import logger
from app.settings import OidcSettings
from app.tasks import Backoff

if TYPE_CHECKING:
    from joserfc.jwk import Key

log = logger(__name__)

REFRESH_SECONDS = 3_600.0
# A sign-in asks again whether the provider is up, if the last answer is older.
FRESH_SECONDS = 60.0
_RETRY_SECONDS, _RETRY_SECONDS_MAX = 5.0, 60.0
# After a failure, sign-ins get the same answer without a call for this long.
PAUSE_SECONDS = 2.0
KEYS_PAUSE_SECONDS = 10.0
# Action and result. A metric begins with 0, so that its first increase can be seen.
RESULTS = (
    ("sign_in", "ok"),
    ("sign_in", "refused"),
    ("sign_in", "provider_failed"),
    ("refresh", "ok"),
    ("refresh", "ended"),
    ("refresh", "superseded"),
    ("refresh", "provider_failed"),
    ("refresh", "database_away"),
    ("logout", "ok"),
    ("logout", "refused"),
    ("logout", "provider_failed"),
)


class Provider(Component):
    """One OpenID Connect provider."""

    name = "oidc"

    def __init__(self, settings: OidcSettings) -> None:
        if settings.issuer is None or settings.client_id is None:
            raise RuntimeError("sign-in with OpenID Connect needs an issuer and a client ID")
        self.audience = Audience(issuer=settings.issuer, client_id=settings.client_id)
        self.settings = settings
        self._client = ProviderClient()
        self._metadata: Metadata | None = None
        self._keys: Sequence[Key] = ()
        self._reading = asyncio.Lock()
        self._read_at = self._keys_read_at = self._failed_at = -float("inf")
        # Why the last call failed. None after a success.
        self.failure: str | None = None
        # For metrics: sign-ins, refreshes and logouts, by their result.
        self.results = dict.fromkeys(RESULTS, 0)

    @property
    def host(self) -> str:
        """The host of the issuer, which the sign-in page names."""
        return urlsplit(self.audience.issuer).hostname or ""

    @property
    def known(self) -> Metadata | None:
        """The last metadata, without a call."""
        return self._metadata

    async def run(self) -> None:
        backoff = Backoff(_RETRY_SECONDS, _RETRY_SECONDS_MAX)
        while True:
            try:
                await self.metadata(age_max=0.0)
            except ProviderFault:
                await backoff.pause()
            else:
                backoff.reset()
                await asyncio.sleep(REFRESH_SECONDS)

    async def close(self) -> None:
        await self._client.close()

    async def metadata(self, *, age_max: float | None = None) -> Metadata:
        """Return the metadata. Raises ProviderFault if it was never read.

        With `age_max`, the provider must be up: it is asked again if the metadata is older, or
        after a failure.
        """
        if self._metadata is not None and age_max is None:
            return self._metadata
        async with self._reading:
            is_new = self.failure is None and time.monotonic() - self._read_at < (age_max or 0.0)
            if self._metadata is not None and is_new:
                return self._metadata
            if self.failure is not None and time.monotonic() - self._failed_at < PAUSE_SECONDS:
                raise ProviderFault(self.failure)
            try:
                return await self._read()
            except ProviderFault as fault:
                self._failed_at = time.monotonic()
                self.note_failure(str(fault))
                raise

    async def verified(self, text: str) -> VerifiedToken:
        """Return the content of a signed token.

        Raises TokenError, and ProviderFault if the keys are not known.
        """
        metadata = await self.metadata()
        offered = metadata.id_token_signing_alg_values_supported
        try:
            return verified_claims(text, self._keys, offered)
        except (KeyUnknownError, KeyChangedError):
            async with self._reading:
                if time.monotonic() - self._keys_read_at >= KEYS_PAUSE_SECONDS:
                    await self._read_keys(metadata)
            return verified_claims(text, self._keys, offered)

    async def exchange(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form to the token endpoint. Return the status and the answer.

        Raises ProviderFault.
        """
        metadata = await self.metadata()
        headers, credentials = self._credentials(metadata)
        status, answer = await self._client.post(
            metadata.token_endpoint, "token endpoint", headers, {**form, **credentials}
        )
        if status == 200:
            self._note_success()
        return status, answer

    async def user_info(self, access_token: str) -> dict[str, Any] | None:
        """Return the claims of the userinfo endpoint, None without one. Raises ProviderFault."""
        endpoint = (await self.metadata()).userinfo_endpoint
        if endpoint is None:
            return None
        headers: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {access_token}"}
        return await self._client.get(endpoint, "userinfo endpoint", headers)

    def note_failure(self, words: str) -> None:
        """Log a failure of the provider, if it differs from the last one."""
        if words != self.failure:
            log.warning("oidc_provider_failed", issuer=self.audience.issuer, error=words)
        self.failure = words

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: tokens, one-time links and open sessions do not need the provider."""
        age = None if self._metadata is None else time.monotonic() - self._read_at
        problem = self.failure
        if problem is None and age is None:
            problem = "The provider's discovery document was not read yet."
        elif problem is None and not self._keys:
            problem = "The provider publishes no key that this service can use."
        return {
            "oidc:provider": HealthCheck(
                status=Status.WARN if problem else Status.PASS,
                age_seconds=None if age is None else round(age, 1),
                observed_value=len(self._keys),
                observed_unit="keys",
                output=problem,
            )
        }

    def metrics(self) -> Iterable[Metric]:
        yield gauge(
            "flagstone_oidc_provider_up",
            "1 if the last call of the OpenID Connect provider succeeded.",
            float(self._metadata is not None and self.failure is None),
        )
        yield counters(
            "flagstone_oidc_actions",
            "Sign-ins, refreshes of claims and logouts with the OpenID Connect provider.",
            "action result",
            self.results,
        )

    async def _read(self) -> Metadata:
        document = await self._client.get(address_of(self.audience.issuer), "discovery document")
        metadata = read_metadata(document, self.audience.issuer)
        self._credentials(metadata)
        await self._read_keys(metadata)
        self._metadata, self._read_at = metadata, time.monotonic()
        self._note_success()
        return metadata

    def _note_success(self) -> None:
        if self.failure is not None:
            log.info("oidc_provider_works_again")
        self.failure = None

    async def _read_keys(self, metadata: Metadata) -> None:
        self._keys_read_at = time.monotonic()
        keys = import_keys(await self._client.get(metadata.jwks_uri, "key set"))
        if not keys:
            raise ProviderFault("The provider's key set has no key that this service can use.")
        self._keys = keys

    def _credentials(self, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and the fields that authenticate this client (RFC 6749, 2.3.1)."""
        client_id, secret = self.audience.client_id, self.settings.client_secret
        if secret is None:
            return {}, {"client_id": client_id}
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_basic" in methods:
            pair = aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(secret.reveal()))
            return {hdrs.AUTHORIZATION: pair}, {}
        if "client_secret_post" in methods:
            return {}, {"client_id": client_id, "client_secret": secret.reveal()}
        raise ProviderFault(
            "The provider's token endpoint accepts no client secret. Unset OIDC_CLIENT_SECRET, or "
            "allow client_secret_basic at the provider."
        )
