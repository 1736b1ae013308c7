"""The vault seals and opens secret values within the caller's transaction.

It caches unwrapped data keys, never values. Each opening still reads the row of its data key, so a
destroyed key stops working at once. Other changes of data keys are noticed within two seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from app.database import Connection, sql
from app.errors import NotFound, Unavailable
from app.log import logger
from app.secrets.data_key_cache import DataKeyCache, KeysMissingError
from app.secrets.envelope import (
    DataKey,
    EntryVersion,
    EnvelopeError,
    PlainSecret,
    Sealed,
    data_key_id,
)
from app.secrets.key_wrapping import StoredDataKey, Wrapped, Wrapper

log = logger(__name__)

# NIST SP 800-38D allows 2^32 encryptions per key with random nonces. Each one is a row of the
# history: 2^30 rows in this time would be 138 per second in one environment, day and night.
ROTATION_DUE = timedelta(days=90)


class Vault:
    """Seals and opens secrets. Without a wrapper it refuses both."""

    def __init__(self, wrapper: Wrapper | None = None) -> None:
        self.keys = DataKeyCache(wrapper)
        self._stored: Sequence[StoredDataKey] = ()
        self.missing: Mapping[str, str] = {}

    async def seal(
        self, connection: Connection, values: Sequence[tuple[PlainSecret, EntryVersion]]
    ) -> list[Sealed]:
        """Seal values of one environment, whose row the caller has locked.

        Makes the environment's first data key. Raises Unavailable when no key can wrap it.
        """
        if not values:
            return []
        environment = values[0][1].environment
        row = await sql.find_active_data_key(connection, environment=environment)
        if row is not None:
            key = await self.keys.get(Wrapped(**row))
        else:
            key = await self.add_data_key(connection, environment)
        return [
            Sealed(entry_version=target, content=key.seal(value, target))
            for value, target in values
        ]

    async def open(self, connection: Connection, sealed: Sequence[Sealed]) -> list[PlainSecret]:
        """Open values. Raises NotFound for the first one that was shredded, and what
        `open_unshredded` raises.
        """
        plain: list[PlainSecret] = []
        opened = await self.open_unshredded(connection, sealed)
        for value, secret in zip(sealed, opened, strict=True):
            if secret is None:
                raise shredded(value)
            plain.append(secret)
        return plain

    async def open_unshredded(
        self, connection: Connection, sealed: Sequence[Sealed]
    ) -> list[PlainSecret | None]:
        """Open values, with None for each one that was shredded.

        Raises Unavailable when a data key cannot be unwrapped, or a stored value was tampered with.
        """
        key_ids = [(value.entry_version.environment, _data_key_id(value)) for value in sealed]
        ids_by_environment: defaultdict[str, set[bytes]] = defaultdict(set)
        for environment, key_id in key_ids:
            ids_by_environment[environment].add(key_id)
        # None stands for a destroyed data key.
        keys: dict[tuple[str, bytes], DataKey | None] = {}
        for environment, ids in ids_by_environment.items():
            rows = sql.find_data_keys(connection, environment=environment, ids=sorted(ids))
            async for row in rows:
                if row["wrapped"] is None:
                    self.keys.forget(environment, row["id"])
                    keys[environment, row["id"]] = None
                else:
                    keys[environment, row["id"]] = await self.keys.get(Wrapped(**row))
        return [_open(keys, key_id, value) for key_id, value in zip(key_ids, sealed, strict=True)]

    async def add_data_key(self, connection: Connection, environment: str) -> DataKey:
        """Make a data key for an environment without an active one. Raises Unavailable."""
        stored = await list_data_keys(connection)
        key, wrapped = await self.keys.make(environment, _undestroyed(stored))
        await sql.insert_data_key(
            connection,
            environment=environment,
            id=key.id,
            kek_id=wrapped.kek_id,
            wrapped=wrapped.wrapped,
        )
        await self.keys.confirm(wrapped)
        return key

    async def check(self, connection: Connection) -> None:
        """Unwrap every data key. Raises KeysMissingError that names each missing key."""
        await self.refresh(connection)
        if self.missing:
            raise KeysMissingError(self.missing)

    async def refresh(self, connection: Connection) -> None:
        """Read the data keys: unwrap new ones, drop destroyed ones."""
        self._stored = await list_data_keys(connection)
        self.missing = await self.keys.sync(_undestroyed(self._stored))

    @property
    def active_kek_id(self) -> str | None:
        """The id of the key that wraps new data keys, None when only a command knows it."""
        return self.keys.wrapper.active_id if self.keys.wrapper is not None else None

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of data keys by key-encryption key, without destroyed ones."""
        return Counter(key.kek_id for key in self._stored if not key.destroyed_at)

    @property
    def active_since(self) -> Mapping[str, datetime]:
        """When the active data key of each environment was created."""
        return {key.environment: key.created_at for key in self._stored if not key.retired_at}

    def problem(self, covers: Callable[[str], bool] = lambda _: True) -> str | None:
        """Return the problem to fix. Name only the environments that `covers` accepts."""
        if self.missing:
            return f"key missing: {', '.join(sorted(self.missing))}"
        if self.keys.problem is not None:
            return f"key ring not reloaded: {self.keys.problem}"
        oldest = datetime.now(UTC) - ROTATION_DUE
        due = sorted(name for name, since in self.active_since.items() if since < oldest)
        named = list(filter(covers, due))
        if len(named) < len(due):
            named.append(f"{len(due) - len(named)} that this token is not for")
        return f"data keys older than {ROTATION_DUE.days} days: {', '.join(named)}" if due else None


async def list_data_keys(connection: Connection) -> list[StoredDataKey]:
    """List all data keys, destroyed ones too, by environment, the oldest first."""
    rows = sql.list_data_keys(connection)
    return [StoredDataKey(**{**row, "wrapped": row["wrapped"] or b""}) async for row in rows]


def _undestroyed(stored: Sequence[StoredDataKey]) -> list[StoredDataKey]:
    return [key for key in stored if not key.destroyed_at]


def _data_key_id(sealed: Sealed) -> bytes:
    try:
        return data_key_id(sealed.content)
    except EnvelopeError as error:
        raise unreadable(sealed, str(error)) from None


def shredded(sealed: Sealed) -> NotFound:
    return NotFound(
        "secret_shredded",
        f"The secret {sealed.entry_version.key} is gone: the key that sealed it was destroyed.",
    )


def _open(
    keys: Mapping[tuple[str, bytes], DataKey | None], key_id: tuple[str, bytes], sealed: Sealed
) -> PlainSecret | None:
    if key_id not in keys:
        raise unreadable(sealed, "has no data key")
    key = keys[key_id]
    if key is None:
        return None
    try:
        return key.open(sealed.content, sealed.entry_version)
    except EnvelopeError as error:
        raise unreadable(sealed, str(error)) from None


def unreadable(sealed: Sealed, reason: str) -> Unavailable:
    """Log which stored secret was tampered with, and return the error for it."""
    entry = sealed.entry_version
    log.error(
        "secret_unreadable",
        environment=entry.environment,
        key=entry.key,
        version=entry.version,
        reason=reason,
    )
    return Unavailable(
        "secret_unreadable",
        "A secret cannot be opened: its stored value was changed outside the service. "
        "See secret_unreadable in the log.",
    )
