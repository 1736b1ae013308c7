"""The tokens of a relay, which its upstream sends with MACs for relays."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from app.access.credentials import Credentials
from app.access.models import Token
from app.relay.client import UpstreamClient
from app.relay.protocol import UpstreamState
from app.settings import Secret

_RETRY_SECONDS = 0.5


class RelayedCredentials(Credentials):
    """The tokens that reach the environments of the relay. A relay has no sessions."""

    name = "tokens"
    poll_seconds = _RETRY_SECONDS
    failure_event = "tokens_not_received"
    origin = "upstream"

    def __init__(self, client: UpstreamClient, *, on_change: Callable[[], None]) -> None:
        # Until the upstream has sent one. No token has a MAC under an empty key.
        super().__init__(Secret(""), on_change=on_change)
        self._client = client
        self._etag = ""
        # The entity tag in the latest state of the upstream.
        self._wanted = ""
        self._refreshing = asyncio.Lock()

    @property
    def relay_key(self) -> Secret:  # type: ignore[override]
        return self.key

    @property
    def relayed(self) -> Iterable[Token]:
        return self.usable.values()

    @property
    def saved_key(self) -> str | None:
        return self.key.reveal()

    def restore(self, usable: Sequence[Token], saved_key: str | None) -> None:
        self.key = Secret(saved_key or "")
        self.use(usable)

    def note(self, state: UpstreamState, received_at: float) -> None:
        """Take the clock of the upstream, and confirm the tokens or fetch the changed ones."""
        self._clock_offset = state.now - datetime.now(UTC)
        self._wanted = state.tokens
        if state.tokens != self._etag:
            self.hint()
        elif not state.stale_seconds:
            self._confirmed_at = received_at

    async def update(self) -> None:
        """Fetch the tokens if the upstream has others. Raises Unavailable."""
        if self._wanted != self._etag:
            await self.refresh()

    async def refresh(self) -> None:
        async with self._refreshing:
            asked_at = time.monotonic()
            received = await self._client.tokens(self._etag)
            if received is not None:
                etag, document = received
                self.key = Secret(document.key)
                self.use(document.usable())
                self._etag = self._wanted = etag
            self._confirmed_at = asked_at
            self.failure = None
