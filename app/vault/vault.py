"""The vault seals and opens values, for whoever has a connection.

Data keys are unwrapped once and kept, values never. Each opening looks up its data key's row all
the same, so that a destroyed key is gone at once; whatever else changes comes with the next look,
every two seconds.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.crypto.envelope import (
    DATA_KEY_ID_BYTES,
    KEY_BYTES,
    DataKey,
    EnvelopeError,
    Opened,
    Place,
    data_key_id,
)
from app.crypto.keyring import KeyRing
from app.crypto.wrapping import KeyMissingError, RingWrapper, Wrapped, Wrapper
from app.database import Connection, Database, sql
from app.errors import NotFound, Unavailable
from app.log import logger
from app.tasks import repeat
from app.vault.models import Sealed, StoredDataKey

log = logger(__name__)

LOOK_SECONDS = 2.0
# NIST SP 800-38D lets one key seal 2^32 times under random nonces. Each is a row of the history:
# even 2^30 of them within this time would be 138 a second, in one environment, day and night.
ROTATION_DUE = timedelta(days=90)


class KeysMissingError(Exception):
    """Data keys cannot be unwrapped: the key ring is another one than theirs."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        named = "; ".join(f"{kek_id} {reason}" for kek_id, reason in sorted(missing.items()))
        super().__init__(f"data keys cannot be unwrapped, so secrets could not be read: {named}")
        self.kek_ids = tuple(sorted(missing))


class Vault:
    """The data keys of this process. Made without a wrapper it refuses all that is secret."""

    def __init__(self, wrapper: Wrapper | None = None) -> None:
        self._wrapper = wrapper
        self._keys: dict[tuple[str, bytes], DataKey] = {}
        self._stored: Sequence[StoredDataKey] = ()
        self.missing: Mapping[str, str] = {}

    def use_wrapper(self, wrapper: Wrapper | None) -> None:
        self._wrapper = wrapper

    async def seal(
        self, connection: Connection, values: Sequence[tuple[Opened, Place]]
    ) -> list[Sealed]:
        """Seal values of one environment, whose row the caller has locked.

        Its first data key is made here. Raises Unavailable when there is no key to wrap it.
        """
        if not values:
            return []
        key = await self._active(connection, values[0][1].environment)
        return [Sealed(place=place, content=key.seal(value, place)) for value, place in values]

    async def open(self, connection: Connection, sealed: Sequence[Sealed]) -> list[Opened]:
        """Return what is in each of them.

        Raises NotFound that names the key whose secret was shredded; Unavailable when a data key
        cannot be unwrapped, or a value was changed behind our back.
        """
        try:
            ids = [data_key_id(each.content) for each in sealed]
            by_environment: dict[str, set[bytes]] = {}
            for each, key_id in zip(sealed, ids, strict=True):
                by_environment.setdefault(each.place.environment, set()).add(key_id)
            keys: dict[tuple[str, bytes], DataKey | None] = {}
            for environment, wanted in by_environment.items():
                keys |= await self._data_keys(connection, environment, wanted)
            places = [
                (each.place.environment, key_id) for each, key_id in zip(sealed, ids, strict=True)
            ]
            return [_open(keys, place, each) for place, each in zip(places, sealed, strict=True)]
        except EnvelopeError as error:
            raise _unreadable(str(error)) from None

    async def check(self, connection: Connection) -> None:
        """Unwrap every data key. Raises KeysMissingError that names each key that is missing."""
        await self.look(connection)
        if self.missing:
            raise KeysMissingError(self.missing)

    async def look(self, connection: Connection) -> None:
        """See which data keys there are: unwrap new ones, and forget what was destroyed."""
        if isinstance(self._wrapper, RingWrapper):
            self._wrapper.refresh()
        self._stored = [StoredDataKey(**row) async for row in sql.list_data_keys(connection)]
        living = [key for key in self._stored if key.wrapped is not None]
        places = {(key.environment, key.id) for key in living}
        for place in self._keys.keys() - places:
            del self._keys[place]
        # Kept or not, each must be there for the next process too.
        wanted = [key for key in living if self._is_news(key)]
        found = await asyncio.gather(*(self._missing(key) for key in wanted))
        self.missing = dict(each for each in found if each is not None)

    async def run(self, database: Database) -> None:
        """Look for ever; go on with what is known while the database is away."""

        async def once() -> None:
            try:
                async with database.connection() as connection:
                    await self.look(connection)
            except Unavailable as error:
                log.debug("data_keys_not_read", code=error.code)
            except Exception as error:  # noqa: BLE001 - one failure must not end the looking
                log.warning("data_keys_not_read", error=type(error).__name__)

        await repeat(lambda: LOOK_SECONDS, once)

    @property
    def ring(self) -> KeyRing | None:
        """The key ring, None when a command has the keys; empty when nobody has."""
        if isinstance(self._wrapper, RingWrapper):
            return self._wrapper.ring
        return KeyRing() if self._wrapper is None else None

    @property
    def active_kek_id(self) -> str | None:
        """The id of the key that wraps what is new, None when only a command knows."""
        return self._wrapper.active_id if self._wrapper is not None else None

    async def rewrapped(self, key: StoredDataKey) -> Wrapped:
        """Return a data key wrapped by the active key. Raises KeysMissingError."""
        if self._wrapper is None:
            raise _no_key_ring()
        try:
            material = await self._wrapper.unwrap(
                Wrapped(
                    environment=key.environment,
                    data_key_id=key.id,
                    kek_id=key.kek_id,
                    content=key.wrapped or b"",
                )
            )
            return await self._wrapper.wrap(material, key.environment, key.id)
        except KeyMissingError as error:
            raise KeysMissingError({error.kek_id: error.reason}) from None

    @property
    def count(self) -> int:
        """How many data keys there are that open anything."""
        return sum(key.wrapped is not None for key in self._stored)

    @property
    def problem(self) -> str | None:
        """What an operator should do something about, None when all is well."""
        if self.missing:
            return f"key missing: {', '.join(sorted(self.missing))}"
        if isinstance(self._wrapper, RingWrapper) and self._wrapper.problem is not None:
            return f"key ring not read anew: {self._wrapper.problem}"
        oldest = datetime.now(UTC) - ROTATION_DUE
        due = sorted(
            k.environment for k in self._stored if not k.retired_at and k.created_at < oldest
        )
        return f"data keys older than {ROTATION_DUE.days} days: {', '.join(due)}" if due else None

    def _is_news(self, key: StoredDataKey) -> bool:
        # A ring is asked about every key, as it may have lost one; a command only about new ones.
        return isinstance(self._wrapper, RingWrapper) or (key.environment, key.id) not in self._keys

    async def _missing(self, key: StoredDataKey) -> tuple[str, str] | None:
        try:
            await self._unwrapped(key.environment, key.id, key.kek_id, key.wrapped or b"")
        except KeyMissingError as error:
            return error.kek_id, error.reason
        return None

    async def _active(self, connection: Connection, environment: str) -> DataKey:
        row = await sql.find_active_data_key(connection, environment=environment)
        if row is not None:
            found = await self._kept(environment, row["id"], row)
            if found is not None:
                return found
        return await self.add_data_key(connection, environment)

    async def add_data_key(self, connection: Connection, environment: str) -> DataKey:
        """Make the environment's data key, where there is no active one. Raises Unavailable."""
        if self._wrapper is None:
            raise _no_key_ring()
        key_id, material = secrets.token_bytes(DATA_KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES)
        try:
            wrapped = await self._wrapper.wrap(material, environment, key_id)
        except KeyMissingError as error:
            raise _key_missing(error) from None
        await sql.insert_data_key(
            connection,
            environment=environment,
            id=key_id,
            kek_id=wrapped.kek_id,
            wrapped=wrapped.content,
        )
        return DataKey(key_id, material)

    async def _data_keys(
        self, connection: Connection, environment: str, ids: set[bytes]
    ) -> dict[tuple[str, bytes], DataKey | None]:
        """Return the data keys that there are, None for those that were destroyed."""
        rows = [
            row
            async for row in sql.find_data_keys(
                connection, environment=environment, ids=sorted(ids)
            )
        ]
        return {(environment, r["id"]): await self._kept(environment, r["id"], r) for r in rows}

    async def _kept(
        self, environment: str, key_id: bytes, row: Mapping[str, Any]
    ) -> DataKey | None:
        if row["wrapped"] is None:
            self._keys.pop((environment, key_id), None)
            return None
        kept = self._keys.get((environment, key_id))
        if kept is not None:
            return kept
        try:
            return await self._unwrapped(environment, key_id, row["kek_id"], row["wrapped"])
        except KeyMissingError as error:
            raise _key_missing(error) from None

    async def _unwrapped(
        self, environment: str, key_id: bytes, kek_id: str, wrapped: bytes
    ) -> DataKey:
        if self._wrapper is None:
            raise KeyMissingError(
                kek_id, "is not there, as neither KEY_RING nor KEY_COMMAND is set"
            )
        material = await self._wrapper.unwrap(
            Wrapped(environment=environment, data_key_id=key_id, kek_id=kek_id, content=wrapped)
        )
        key = DataKey(key_id, material)
        self._keys[environment, key_id] = key
        return key


def _open(
    keys: Mapping[tuple[str, bytes], DataKey | None], place: tuple[str, bytes], sealed: Sealed
) -> Opened:
    if place not in keys:
        raise EnvelopeError("has no data key")
    key = keys[place]
    if key is None:
        raise NotFound(
            "secret_shredded",
            f"The secret {sealed.place.key} is gone: the key that sealed it was destroyed.",
        )
    try:
        return key.open(sealed.content, sealed.place)
    except EnvelopeError as error:
        raise _unreadable(f"{sealed.place} {error}") from None


def _unreadable(reason: str) -> Unavailable:
    log.error("secret_unreadable", reason=reason)
    return Unavailable(
        "secret_unreadable",
        "A secret cannot be opened: it is not what was once written in its place.",
    )


def _no_key_ring() -> Unavailable:
    return Unavailable(
        "key_ring_missing", "Secrets cannot be used here: neither KEY_RING nor KEY_COMMAND is set."
    )


def _key_missing(error: KeyMissingError) -> Unavailable:
    log.error("key_missing", kek_id=error.kek_id, reason=error.reason)
    return Unavailable("key_missing", "A key that secrets need cannot be had just now.")
