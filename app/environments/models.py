"""The JSON shapes of environments and their properties."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.environments.protection import Protection, protection_of


class Properties(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of the flag set, the generation of bucketing, and the protection.

    `protected` protects from deletion, and `protection` from writes without approval. `version`
    counts the changes of the properties.
    """

    metadata: dict[str, Any]
    fractional: str
    protected: bool
    # The hash chain leaves null out: change sets of earlier releases have none.
    protection: Protection | None = None
    version: int


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """An environment. `hash`, in hex, is the hash of the latest change set, null before the first.

    `version` counts the changes of metadata, fractional, protected and protection. `first_revision`
    is above 1 when the revisions before it belong to a deleted environment of the same name.
    """

    name: str
    tier: str
    revision: int
    epoch: str
    hash: str | None
    protected: bool
    fractional: str
    metadata: dict[str, Any]
    # Files on disk of earlier releases lack the following members.
    version: int = 1
    first_revision: int = 1
    protection: Protection | None = None

    @property
    def properties(self) -> Properties:
        return Properties(
            metadata=self.metadata,
            fractional=self.fractional,
            protected=self.protected,
            version=self.version,
            protection=self.protection,
        )

    def at(self, revision: int, properties: Properties) -> "Environment":
        """Return the environment as of an earlier revision, without a hash."""
        if revision == self.revision:
            return self
        members = msgspec.structs.asdict(properties)
        return msgspec.structs.replace(self, revision=revision, hash=None, **members)


def environment_of(row: Mapping[str, Any]) -> Environment:
    """Return the environment in the columns of a row."""
    return Environment(**{**row, "protection": protection_of(row["protection"])})


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Environment]
