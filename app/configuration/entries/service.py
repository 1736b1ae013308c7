"""Read and write configurations on the caller's connection."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.access.permissions import Keys
from app.configuration.changes import past
from app.configuration.changes import service as changes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import ChangeSet, Kind, Operation
from app.configuration.changes.past import Moment, revision_of
from app.configuration.changes.rows import content_of
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.entries.models import ConfigurationPage, WriteResult
from app.configuration.snapshots.snapshot import PAGE_BYTES_MAX, Configuration
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import NotFound, invalid
from app.names import KEY_RULE, is_key, is_stored_key
from app.secrets.envelope import sealed_of
from app.secrets.vault import Vault, shredded, unreadable

_FIELDS = [name for name in Configuration.__struct_fields__ if name != "sealed"]


async def get(
    connection: Connection,
    environment: str,
    key: str,
    moment: Moment | None = None,
    *,
    vault: Vault | None = None,
) -> tuple[Configuration, int, str]:
    """Return an entry now or as of a moment, and the revision and epoch of that state.

    With a vault, a secret is in clear. Raises NotFound, and as the vault.
    """
    check_stored_key(key)
    if moment is not None:
        revision, epoch = await _revision_and_epoch(connection, environment, moment)
        rows = await _entries_at(connection, environment, revision, [key])
        if not rows:
            raise NotFound("configuration_unknown", "There was no such configuration.")
        return await _configuration_in_clear(connection, rows[0], vault), revision, epoch
    row = await sql.find_configuration(connection, environment=environment, key=key)
    if row is None:
        raise environments.unknown_environment()
    if row["key"] is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    sealed = sealed_of(environment, key, row["version"], row["sealed"])
    if vault is not None and sealed is not None and not row["is_last_change"]:
        raise unreadable(sealed, "differs from the last change of its key in the history")
    configuration = await _configuration_in_clear(connection, row, vault)
    return configuration, row["revision"], row["epoch"]


async def list_page(
    connection: Connection,
    environment: str,
    moment: Moment | None = None,
    *,
    keys: Keys,
    kind: Kind | None = None,
    after: str = "",
    limit: int,
) -> tuple[ConfigurationPage, str]:
    """Return a page of these keys, and the epoch. Raises NotFound.

    Large values end a page before its limit.
    """
    revision, epoch = await _revision_and_epoch(connection, environment, moment)
    names = await past.list_keys_at(
        connection, environment, revision, keys=keys, kind=kind, after=after, limit=limit + 1
    )
    rows = await _entries_at(connection, environment, revision, names[:limit])
    page = ConfigurationPage(
        items=[_configuration(row) for row in rows],
        next=rows[-1]["key"] if rows and len(rows) < len(names) else None,
        revision=revision,
    )
    return page, epoch


async def write(
    connection: Connection,
    environment: str,
    operation: Operation,
    *,
    actor: str,
    message: str = "",
    vault: Vault | None = None,
    authority: Authority,
) -> WriteResult:
    """Store or delete one entry; the caller has checked it. Raises as `changes.apply`."""
    return result_of(
        await changes.apply(
            connection,
            environment,
            [operation],
            actor=actor,
            message=message,
            vault=vault,
            authority=authority,
        )
    )


def result_of(change_set: ChangeSet) -> WriteResult:
    """Return the result of a change set with one change."""
    (change,) = change_set.changes
    return WriteResult(
        environment=change_set.environment,
        key=change.key,
        version=change.version,
        revision=change_set.revision,
        epoch=change_set.epoch,
        created=change.before.version is None,
        approval=change_set.approval,
        approval_required=change_set.approval_required,
    )


def check_key(key: str) -> str:
    """Return the key of a new entry. Raises Invalid."""
    if not is_key(key):
        raise invalid("key", KEY_RULE)
    return key


def check_stored_key(key: str) -> str:
    """Return the key of an entry that may be stored already. Raises Invalid."""
    if not is_stored_key(key):
        raise invalid("key", KEY_RULE)
    return key


async def _revision_and_epoch(
    connection: Connection, environment: str, moment: Moment | None
) -> tuple[int, str]:
    current = await environments.get(connection, environment)
    if moment is None:
        return current.revision, current.epoch
    return await revision_of(connection, environment, moment), current.epoch


async def _entries_at(
    connection: Connection, environment: str, revision: int, keys: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Return the first entries of these keys, until their values reach the limit of a page."""
    return [
        {**row, "environment": environment}
        async for row in sql.list_entries_at(
            connection,
            environment=environment,
            revision=revision,
            keys=keys,
            page_bytes=PAGE_BYTES_MAX,
        )
    ]


async def _configuration_in_clear(
    connection: Connection, row: Any, vault: Vault | None
) -> Configuration:
    """Return the configuration, with a secret in clear if there is a vault."""
    configuration = _configuration(row)
    if vault is None or not configuration.sealed:
        return configuration
    contents = [content_of(configuration.environment, row)]
    (content,) = await reveal_secrets(connection, vault, contents)
    if content.sealed is not None:
        raise shredded(content.sealed)
    return msgspec.structs.replace(configuration, value=content.value, sealed=False)


def _configuration(row: Any) -> Configuration:
    fields = {name: row[name] for name in _FIELDS}
    return Configuration(**fields, sealed=row["kind"] == Kind.SECRET)
