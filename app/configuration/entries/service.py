"""Reading and writing configurations. Each function takes the connection first and opens none."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.configuration.changes import service as changes
from app.configuration.changes.history import Moment, revision_of
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.rows import content_of
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.entries.models import ConfigurationPage, NewConfiguration, Written
from app.configuration.snapshots.snapshot import PAGE_BYTES_MAX, Configuration
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import NotFound, invalid
from app.names import KEY_RULE, is_key, is_stored_key
from app.secrets.models import sealed_of
from app.secrets.vault import Vault, shredded, unreadable

_FIELDS = [name for name in Configuration.__struct_fields__ if name != "sealed"]


async def get(
    connection: Connection, environment: str, key: str, *, vault: Vault | None = None
) -> tuple[Configuration, int, str]:
    """Return the entry, and the revision and epoch that it was read at.

    With a vault, a secret is in clear. Raises NotFound, and as the vault does.
    """
    check_stored_key(key)
    row = await sql.find_configuration(connection, environment=environment, key=key)
    if row is None:
        raise environments.unknown_environment()
    if row["key"] is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    sealed = sealed_of(environment, key, row["version"], row["sealed"])
    if vault is not None and sealed is not None and not row["is_last_change"]:
        raise unreadable(sealed, "is not what the last change of its key has left there")
    return await _revealed(connection, row, vault), row["revision"], row["epoch"]


async def get_at(
    connection: Connection,
    environment: str,
    key: str,
    moment: Moment,
    *,
    vault: Vault | None = None,
) -> tuple[Configuration, int, str]:
    """Return the entry as of a moment, and that moment's revision and epoch. Raises as `get`."""
    check_stored_key(key)
    revision, epoch = await _revision_and_epoch(connection, environment, moment)
    found = await _entries_at(connection, environment, revision, keys=[key], limit=1)
    if not found:
        raise NotFound("configuration_unknown", "There was no such configuration.")
    return await _revealed(connection, found[0], vault), revision, epoch


async def list_page_at(
    connection: Connection,
    environment: str,
    moment: Moment,
    *,
    prefix: str = "",
    kind: Kind | None = None,
    after: str = "",
    limit: int,
) -> tuple[ConfigurationPage, str]:
    """Return a page of entries as of a moment, and the epoch. Raises NotFound.

    A page of large values ends before its limit.
    """
    revision, epoch = await _revision_and_epoch(connection, environment, moment)
    found = await _entries_at(
        connection, environment, revision, prefix=prefix, kind=kind, after=after, limit=limit
    )
    page = ConfigurationPage(
        items=[_configuration(row) for row in found],
        next=found[-1]["key"] if found and found[-1]["has_more"] else None,
        revision=revision,
    )
    return page, epoch


async def list_page(
    connection: Connection,
    environment: str,
    *,
    prefix: str = "",
    kind: Kind | None = None,
    after: str = "",
    limit: int,
) -> tuple[ConfigurationPage, str]:
    """Return the next page of entries in the order of their keys, and the epoch.

    A page of large values ends before its limit.
    """
    rows = [
        row
        async for row in sql.list_configurations(
            connection,
            environment=environment,
            prefix=prefix,
            kind=kind,
            after=after,
            page_size=limit,
            page_bytes=PAGE_BYTES_MAX,
        )
    ]
    if not rows:
        raise environments.unknown_environment()
    items = [_configuration(row) for row in rows if row["key"] is not None]
    page = ConfigurationPage(
        items=items,
        next=items[-1].key if rows[-1]["has_more"] else None,
        revision=rows[0]["revision"],
    )
    return page, rows[0]["epoch"]


async def write(
    connection: Connection,
    environment: str,
    operation: Operation,
    *,
    actor: str,
    message: str = "",
    vault: Vault | None = None,
) -> Written:
    """Put or delete one entry, as a change set of one operation. Raises as `changes.apply` does.

    The caller has checked the operation's key and content.
    """
    change_set = await changes.apply(
        connection, environment, [operation], actor=actor, message=message, vault=vault
    )
    change = change_set.changes[0]
    return Written(
        environment=change_set.environment,
        key=change.key,
        version=change.version,
        revision=change_set.revision,
        epoch=change_set.epoch,
        created=change.before.version is None,
    )


def content_from(wanted: NewConfiguration) -> Content:
    """Return what is to be stored, unchecked."""
    return Content(
        kind=Kind(wanted.kind),
        value=wanted.value,
        schema=wanted.schema,
        description=wanted.description,
    )


def check_key(key: str) -> str:
    """Return the key. Raises Invalid when no new entry may have it."""
    if not is_key(key):
        raise invalid("key", KEY_RULE)
    return key


def check_stored_key(key: str) -> str:
    """Return the key. Raises Invalid when no entry can have it."""
    if not is_stored_key(key):
        raise invalid("key", KEY_RULE)
    return key


async def _revision_and_epoch(
    connection: Connection, environment: str, moment: Moment
) -> tuple[int, str]:
    revision = await revision_of(connection, environment, moment)
    return revision, (await environments.get(connection, environment)).epoch


async def _entries_at(
    connection: Connection,
    environment: str,
    revision: int,
    *,
    keys: list[str] | None = None,
    prefix: str = "",
    kind: Kind | None = None,
    after: str = "",
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return a page of entries; each row says whether there are more after the page."""
    return [
        {**row, "environment": environment}
        async for row in sql.list_entries_at(
            connection,
            environment=environment,
            revision=revision,
            keys=keys,
            prefix=prefix,
            kind=kind,
            after=after,
            page_size=limit,
            page_bytes=PAGE_BYTES_MAX,
        )
    ]


async def _revealed(connection: Connection, row: Any, vault: Vault | None) -> Configuration:
    found = _configuration(row)
    if vault is None or not found.sealed:
        return found
    content = (await reveal_secrets(connection, vault, [content_of(found.environment, row)]))[0]
    if content.sealed is not None:
        raise shredded(content.sealed)
    return msgspec.structs.replace(found, value=content.value, sealed=False)


def _configuration(row: Any) -> Configuration:
    fields = {name: row[name] for name in _FIELDS}
    return Configuration(**fields, sealed=row["kind"] == Kind.SECRET)
