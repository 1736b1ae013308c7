"""The data keys of this process, unwrapped once by the key ring or a command, and cached."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from app.errors import ForeseenError, Unavailable
from app.log import logger
from app.secrets.envelope import DATA_KEY_ID_BYTES, KEY_BYTES, DataKey
from app.secrets.key_wrapping import KeyMissingError, RingWrapper, Wrapped, Wrapper
from app.secrets.keyring import KeyRing

log = logger(__name__)


class KeysMissingError(ForeseenError):
    """Data keys cannot be unwrapped, because the key ring does not have their keys."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        reasons = "; ".join(f"{kek_id} {reason}" for kek_id, reason in sorted(missing.items()))
        super().__init__(f"data keys cannot be unwrapped, so secrets could not be read: {reasons}")
        self.kek_ids = tuple(sorted(missing))


class DataKeyCache:
    """Data keys by environment and id. Without a wrapper it is empty and makes no keys."""

    def __init__(self, wrapper: Wrapper | None) -> None:
        self.wrapper = wrapper
        self._keys: dict[tuple[str, bytes], DataKey] = {}

    @property
    def ring(self) -> KeyRing | None:
        """The key ring; empty without a wrapper, None when a command has the keys."""
        if isinstance(self.wrapper, RingWrapper):
            return self.wrapper.ring
        return KeyRing() if self.wrapper is None else None

    @property
    def problem(self) -> str | None:
        """Why the file of the key ring could not be reloaded, None when it could."""
        return self.wrapper.problem if isinstance(self.wrapper, RingWrapper) else None

    async def get(self, wrapped: Wrapped) -> DataKey:
        """Return the data key. Raises Unavailable."""
        cached = self._keys.get((wrapped.environment, wrapped.id))
        try:
            return cached or await self._unwrap(wrapped)
        except KeyMissingError as error:
            raise _key_missing(error) from None

    async def make(self, environment: str, stored: Sequence[Wrapped]) -> tuple[DataKey, Wrapped]:
        """Return a new data key to be stored beside the stored ones. Raises Unavailable.

        Refused while a stored one cannot be unwrapped: this may be the wrong key ring, and what it
        wraps would be lost once the operator restores the right ring.
        """
        wrapper = self._wrapper()
        key_id, material = secrets.token_bytes(DATA_KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES)
        for missing in (await self.sync(stored)).items():
            raise _key_missing(KeyMissingError(*missing))
        try:
            wrapped = await wrapper.wrap(material, environment, key_id)
        except KeyMissingError as error:
            raise _key_missing(error) from None
        return DataKey(key_id, material), wrapped

    async def rewrap(self, wrapped: Wrapped) -> Wrapped:
        """Return the data key wrapped by the active key. Raises KeysMissingError, Unavailable."""
        try:
            material = await self._wrapper().unwrap(wrapped)
            return await self._wrapper().wrap(material, wrapped.environment, wrapped.id)
        except KeyMissingError as error:
            raise KeysMissingError({error.kek_id: error.reason}) from None

    async def confirm(self, wrapped: Wrapped) -> None:
        """Check, after storing it, that the key that wrapped it was not retired meanwhile.

        `key retire` locks the table while it counts and changes the ring. So it either counts this
        data key, or has changed the ring that is read here. Raises Unavailable.
        """
        if isinstance(self.wrapper, RingWrapper):
            try:
                await self.wrapper.unwrap(wrapped)
            except KeyMissingError as error:
                raise _key_missing(error) from None

    async def sync(self, stored: Sequence[Wrapped]) -> Mapping[str, str]:
        """Cache exactly these data keys; return the id of each missing key, with the reason.

        A ring unwraps every data key each time, because it may have lost a key that the next
        process needs. A command unwraps new ones only.
        """
        if isinstance(self.wrapper, RingWrapper):
            self.wrapper.refresh()
        stored_ids = {(key.environment, key.id) for key in stored}
        for key_id in self._keys.keys() - stored_ids:
            del self._keys[key_id]
        unchecked = [
            key
            for key in stored
            if isinstance(self.wrapper, RingWrapper) or (key.environment, key.id) not in self._keys
        ]
        results = await asyncio.gather(*map(self._missing, unchecked))
        return dict(missing for missing in results if missing is not None)

    def forget(self, environment: str, data_key_id: bytes) -> None:
        self._keys.pop((environment, data_key_id), None)

    async def _missing(self, wrapped: Wrapped) -> tuple[str, str] | None:
        try:
            await self._unwrap(wrapped)
        except KeyMissingError as error:
            return error.kek_id, error.reason
        return None

    async def _unwrap(self, wrapped: Wrapped) -> DataKey:
        if self.wrapper is None:
            reason = "is not there, as neither KEY_RING nor KEY_COMMAND is set"
            raise KeyMissingError(wrapped.kek_id, reason)
        key = DataKey(wrapped.id, await self.wrapper.unwrap(wrapped))
        self._keys[wrapped.environment, wrapped.id] = key
        return key

    def _wrapper(self) -> Wrapper:
        if self.wrapper is None:
            raise Unavailable(
                "key_ring_missing",
                "Secrets cannot be used here: neither KEY_RING nor KEY_COMMAND is set.",
            )
        return self.wrapper


def _key_missing(error: KeyMissingError) -> Unavailable:
    log.error("key_missing", kek_id=error.kek_id, reason=error.reason)
    return Unavailable(
        "key_missing", "A key that secrets need is missing: see key_missing in the log."
    )
