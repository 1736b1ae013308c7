"""The data keys of this process: unwrapped once, by the key ring or a command, and kept."""

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
    """Data keys cannot be unwrapped: the key ring is another one than theirs."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        named = "; ".join(f"{kek_id} {reason}" for kek_id, reason in sorted(missing.items()))
        super().__init__(f"data keys cannot be unwrapped, so secrets could not be read: {named}")
        self.kek_ids = tuple(sorted(missing))


class UnwrappedKeys:
    """Data keys by environment and id. Without a wrapper there are none, and none can be made."""

    def __init__(self, wrapper: Wrapper | None) -> None:
        self.wrapper = wrapper
        self._keys: dict[tuple[str, bytes], DataKey] = {}

    @property
    def ring(self) -> KeyRing | None:
        """The key ring, None when a command has the keys; empty when nobody has."""
        if isinstance(self.wrapper, RingWrapper):
            return self.wrapper.ring
        return KeyRing() if self.wrapper is None else None

    @property
    def problem(self) -> str | None:
        """Why the key ring's file could not be read anew, None when it could."""
        return self.wrapper.problem if isinstance(self.wrapper, RingWrapper) else None

    async def get(self, wrapped: Wrapped) -> DataKey:
        """Return the data key. Raises Unavailable."""
        kept = self._keys.get((wrapped.environment, wrapped.data_key_id))
        try:
            return kept or await self._unwrap(wrapped)
        except KeyMissingError as error:
            raise _key_missing(error) from None

    async def make(self, environment: str, living: Sequence[Wrapped]) -> tuple[DataKey, Wrapped]:
        """Return a new data key, to be stored beside the living ones. Raises Unavailable.

        Refused while one of those cannot be unwrapped: it may be the wrong key ring that is there,
        and what it wraps would be lost once the right one is back.
        """
        wrapper = self._wrapper()
        key_id, material = secrets.token_bytes(DATA_KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES)
        for missing in (await self.keep(living)).items():
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
            return await self._wrapper().wrap(material, wrapped.environment, wrapped.data_key_id)
        except KeyMissingError as error:
            raise KeysMissingError({error.kek_id: error.reason}) from None

    async def confirm(self, wrapped: Wrapped) -> None:
        """Check, once it is stored, that the key that wrapped it was not retired meanwhile.

        `key retire` locks the table while it counts and changes the ring: so either it counts this
        data key, or the ring that is read here is the changed one. Raises Unavailable.
        """
        if isinstance(self.wrapper, RingWrapper):
            try:
                await self.wrapper.unwrap(wrapped)
            except KeyMissingError as error:
                raise _key_missing(error) from None

    async def keep(self, living: Sequence[Wrapped]) -> Mapping[str, str]:
        """Have these data keys and no others; return which key is missing for any of them, and why.

        A ring is asked for every one, as it may have lost a key that the next process needs; a
        command only for those that are new.
        """
        if isinstance(self.wrapper, RingWrapper):
            self.wrapper.refresh()
        places = {(key.environment, key.data_key_id) for key in living}
        for place in self._keys.keys() - places:
            del self._keys[place]
        asked = [key for key in living if isinstance(self.wrapper, RingWrapper) or self._lacks(key)]
        found = await asyncio.gather(*map(self._missing, asked))
        return dict(each for each in found if each is not None)

    def forget(self, environment: str, data_key_id: bytes) -> None:
        """Have one no longer, since it was destroyed."""
        self._keys.pop((environment, data_key_id), None)

    def _lacks(self, key: Wrapped) -> bool:
        return (key.environment, key.data_key_id) not in self._keys

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
        key = DataKey(wrapped.data_key_id, await self.wrapper.unwrap(wrapped))
        self._keys[wrapped.environment, wrapped.data_key_id] = key
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
    return Unavailable("key_missing", "A key that secrets need cannot be had just now.")
