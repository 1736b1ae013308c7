"""Seal the values of secrets for their new versions before a change set is written."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from app.configuration.changes.models import Change, Content, Kind
from app.database import Connection
from app.secrets.envelope import EntryVersion, PlainSecret, fresh
from app.secrets.vault import Vault


async def seal_secrets(
    connection: Connection, vault: Vault, environment: str, changes: Sequence[Change]
) -> list[Change]:
    """Return the changes with each secret sealed for its environment, key and new version.

    A copy from another version, key or environment is opened first. Raises as the vault.
    """
    secrets = [change for change in changes if _is_secret(change.after)]
    if not secrets:
        return list(changes)
    values = await _open(connection, vault, [change.after for change in secrets if change.after])
    entry_versions = [
        EntryVersion(environment=environment, key=change.key, version=change.version or 0)
        for change in secrets
    ]
    sealed = await vault.seal(connection, list(zip(values, entry_versions, strict=True)))
    sealed_by_key = dict(zip((change.key for change in secrets), sealed, strict=True))
    return [
        replace(change, after=replace(change.after, value=None, sealed=sealed_by_key[change.key]))
        if change.after is not None and change.key in sealed_by_key
        else change
        for change in changes
    ]


async def reveal_secrets(
    connection: Connection, vault: Vault, contents: Sequence[Content]
) -> list[Content]:
    """Return the contents with secrets in clear. A shredded one stays sealed.

    Raises as the vault.
    """
    sealed = [content.sealed for content in contents if content.sealed is not None]
    opened = iter(await vault.open_unshredded(connection, sealed))
    return [
        _with_value(content, next(opened)) if content.sealed else content for content in contents
    ]


def _with_value(content: Content, opened: PlainSecret | None) -> Content:
    if opened is None:
        return content
    return replace(content, value=msgspec.json.decode(opened.value), sealed=None)


async def _open(
    connection: Connection, vault: Vault, contents: Sequence[Content]
) -> list[PlainSecret]:
    """Return the values to seal: new ones, and opened copies."""
    sealed = [content.sealed for content in contents if content.sealed is not None]
    opened = iter(await vault.open(connection, sealed))
    return [
        next(opened) if content.sealed is not None else fresh(msgspec.json.encode(content.value))
        for content in contents
    ]


def _is_secret(content: Content | None) -> bool:
    return content is not None and content.kind is Kind.SECRET
