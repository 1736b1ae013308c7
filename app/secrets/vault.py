"""The vault seals and opens values, for whoever has a connection.

Data keys are unwrapped once and kept, values never. Each opening looks up its data key's row all
the same, so that a destroyed key is gone at once; whatever else changes comes with the next look,
every two seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.database import Connection, sql
from app.errors import NotFound, Unavailable
from app.log import logger
from app.secrets.data_key_cache import KeysMissingError, UnwrappedKeys
from app.secrets.envelope import DataKey, EntryVersion, EnvelopeError, PlainSecret, data_key_id
from app.secrets.key_wrapping import Wrapped, Wrapper
from app.secrets.keyring import KeyRing
from app.secrets.models import Sealed, StoredDataKey

log = logger(__name__)

# NIST SP 800-38D lets one key seal 2^32 times under random nonces. Each is a row of the history:
# even 2^30 of them within this time would be 138 a second, in one environment, day and night.
ROTATION_DUE = timedelta(days=90)

# Data keys by environment and id; None for one that was destroyed.
_Found = Mapping[tuple[str, bytes], DataKey | None]


class Vault:
    """The data keys of this process. Made without a wrapper it refuses all that is secret."""

    def __init__(self, wrapper: Wrapper | None = None) -> None:
        self.keys = UnwrappedKeys(wrapper)
        self._stored: Sequence[StoredDataKey] = ()
        self.missing: Mapping[str, str] = {}
        # Why the database, though it answers, does not give the data keys; None after a success.
        self.failure: str | None = None

    async def seal(
        self, connection: Connection, values: Sequence[tuple[PlainSecret, EntryVersion]]
    ) -> list[Sealed]:
        """Seal values of one environment, whose row the caller has locked.

        Its first data key is made here. Raises Unavailable when there is no key to wrap it.
        """
        if not values:
            return []
        environment = values[0][1].environment
        row = await sql.find_active_data_key(connection, environment=environment)
        if row is not None:
            key = await self.keys.get(_wrapped(row))
        else:
            key = await self.add_data_key(connection, environment)
        return [
            Sealed(entry_version=target, content=key.seal(value, target))
            for value, target in values
        ]

    async def open(self, connection: Connection, sealed: Sequence[Sealed]) -> list[PlainSecret]:
        """Return what is in each of them. Raises NotFound for the first whose secret was shredded,
        and as `open_living` does.
        """
        found: list[PlainSecret] = []
        for each, opened in zip(sealed, await self.open_living(connection, sealed), strict=True):
            if opened is None:
                raise shredded(each)
            found.append(opened)
        return found

    async def open_living(
        self, connection: Connection, sealed: Sequence[Sealed]
    ) -> list[PlainSecret | None]:
        """Return what is in each of them, None for a secret that was shredded.

        Raises Unavailable when a data key cannot be unwrapped, or a value was changed behind our
        back.
        """
        key_ids = [(each.entry_version.environment, _data_key_id(each)) for each in sealed]
        wanted: defaultdict[str, set[bytes]] = defaultdict(set)
        for environment, key_id in key_ids:
            wanted[environment].add(key_id)
        found: dict[tuple[str, bytes], DataKey | None] = {}
        for environment, ids in wanted.items():
            rows = sql.find_data_keys(connection, environment=environment, ids=sorted(ids))
            async for row in rows:
                if row["wrapped"] is None:
                    self.keys.forget(environment, row["id"])
                    found[environment, row["id"]] = None
                else:
                    found[environment, row["id"]] = await self.keys.get(_wrapped(row))
        return [_open(found, key_id, each) for key_id, each in zip(key_ids, sealed, strict=True)]

    async def add_data_key(self, connection: Connection, environment: str) -> DataKey:
        """Make the environment's data key, where there is no active one. Raises Unavailable."""
        stored = [StoredDataKey(**row) async for row in sql.list_data_keys(connection)]
        key, wrapped = await self.keys.make(environment, _living(stored))
        await sql.insert_data_key(
            connection,
            environment=environment,
            id=key.id,
            kek_id=wrapped.kek_id,
            wrapped=wrapped.content,
        )
        await self.keys.confirm(wrapped)
        return key

    async def check(self, connection: Connection) -> None:
        """Unwrap every data key. Raises KeysMissingError that names each key that is missing."""
        await self.look(connection)
        if self.missing:
            raise KeysMissingError(self.missing)

    async def look(self, connection: Connection) -> None:
        """See which data keys there are: unwrap new ones, and forget what was destroyed."""
        self._stored = [StoredDataKey(**row) async for row in sql.list_data_keys(connection)]
        self.missing = await self.keys.keep(_living(self._stored))
        self.failure = None

    @property
    def ring(self) -> KeyRing | None:
        """The key ring, None when a command has the keys; empty when nobody has."""
        return self.keys.ring

    @property
    def active_kek_id(self) -> str | None:
        """The id of the key that wraps what is new, None when only a command knows."""
        return self.keys.wrapper.active_id if self.keys.wrapper is not None else None

    @property
    def counts(self) -> Mapping[str, int]:
        """How many data keys there are that open anything, by the key that wrapped them."""
        return Counter(key.kek_id for key in self._stored if key.wrapped is not None)

    @property
    def active_since(self) -> Mapping[str, datetime]:
        """When the active data key of each environment was made."""
        return {key.environment: key.created_at for key in self._stored if not key.retired_at}

    @property
    def problem(self) -> str | None:
        """What an operator should do something about, None when all is well."""
        return self.problem_among(self.active_since)

    def problem_among(self, environments: Collection[str]) -> str | None:
        """Return the problem and name only these environments; others are counted."""
        if self.failure is not None:
            return f"data keys not read: {self.failure}"
        if self.missing:
            return f"key missing: {', '.join(sorted(self.missing))}"
        if self.keys.problem is not None:
            return f"key ring not read anew: {self.keys.problem}"
        oldest = datetime.now(UTC) - ROTATION_DUE
        due = sorted(name for name, made_at in self.active_since.items() if made_at < oldest)
        named = [name for name in due if name in environments]
        if len(named) < len(due):
            named.append(f"{len(due) - len(named)} that this token is not for")
        return f"data keys older than {ROTATION_DUE.days} days: {', '.join(named)}" if due else None


def _living(stored: Sequence[StoredDataKey]) -> list[Wrapped]:
    return [key.as_wrapped() for key in stored if key.wrapped is not None]


def _wrapped(row: Any) -> Wrapped:
    return Wrapped(
        environment=row["environment"],
        data_key_id=row["id"],
        kek_id=row["kek_id"],
        content=row["wrapped"],
    )


def _data_key_id(sealed: Sealed) -> bytes:
    try:
        return data_key_id(sealed.content)
    except EnvelopeError as error:
        raise unreadable(sealed, str(error)) from None


def shredded(sealed: Sealed) -> NotFound:
    """Return the error for a secret whose data key was destroyed."""
    return NotFound(
        "secret_shredded",
        f"The secret {sealed.entry_version.key} is gone: the key that sealed it was destroyed.",
    )


def _open(found: _Found, key_id: tuple[str, bytes], sealed: Sealed) -> PlainSecret | None:
    if key_id not in found:
        raise unreadable(sealed, "has no data key")
    key = found[key_id]
    if key is None:
        return None
    try:
        return key.open(sealed.content, sealed.entry_version)
    except EnvelopeError as error:
        raise unreadable(sealed, str(error)) from None


def unreadable(sealed: Sealed, reason: str) -> Unavailable:
    """Return the error for a secret that was changed behind our back; the log tells of which."""
    entry_version = sealed.entry_version
    log.error(
        "secret_unreadable",
        environment=entry_version.environment,
        key=entry_version.key,
        version=entry_version.version,
        reason=reason,
    )
    return Unavailable(
        "secret_unreadable",
        "A secret cannot be opened: it is not what was once written in its place.",
    )
