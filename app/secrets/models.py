"""A sealed value and a data key, as they are stored."""

from dataclasses import dataclass, field
from datetime import datetime

from app.secrets import envelope
from app.secrets.envelope import EntryVersion
from app.secrets.key_wrapping import Wrapped


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A secret's value as it is stored. It opens for its own entry and version only."""

    entry_version: EntryVersion
    content: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """The same for two copies of one written value; see `envelope.py`."""
        return envelope.commitment(self.content)


@dataclass(frozen=True, kw_only=True)
class StoredDataKey:
    """A row of `data_keys`; `wrapped` is None once it is destroyed."""

    environment: str
    id: bytes
    kek_id: str
    wrapped: bytes | None = field(repr=False)
    created_at: datetime
    retired_at: datetime | None
    destroyed_at: datetime | None

    def as_wrapped(self) -> Wrapped:
        return Wrapped(
            environment=self.environment,
            data_key_id=self.id,
            kek_id=self.kek_id,
            content=self.wrapped or b"",
        )


def sealed_of(environment: str, key: str, version: int, content: bytes | None) -> Sealed | None:
    """Return the sealed value of a row, None when the row has none."""
    if content is None:
        return None
    return Sealed(
        entry_version=EntryVersion(environment=environment, key=key, version=version),
        content=content,
    )
