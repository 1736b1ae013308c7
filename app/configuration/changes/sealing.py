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
    secrets = {
        change.key: change.after
        for change in changes
        if change.after is not None and change.after.kind is Kind.SECRET
    }
    if not secrets:
        return list(changes)
    copies = [content.sealed for content in secrets.values() if content.sealed is not None]
    opened = iter(await vault.open(connection, copies))
    values = [
        next(opened) if content.sealed is not None else fresh(msgspec.json.encode(content.value))
        for content in secrets.values()
    ]
    entry_versions = [
        EntryVersion(environment=environment, key=change.key, version=change.version or 0)
        for change in changes
        if change.key in secrets
    ]
    sealed = await vault.seal(connection, list(zip(values, entry_versions, strict=True)))
    contents = {
        key: replace(content, value=None, sealed=value)
        for (key, content), value in zip(secrets.items(), sealed, strict=True)
    }
    return [replace(change, after=contents.get(change.key, change.after)) for change in changes]


async def reveal_secrets(
    connection: Connection, vault: Vault, contents: Sequence[Content]
) -> list[Content]:
    """Return the contents with secrets in clear, except shredded ones. Raises as the vault."""
    sealed = [content.sealed for content in contents if content.sealed is not None]
    opened = iter(await vault.open_unshredded(connection, sealed))
    return [
        _with_value(content, next(opened)) if content.sealed else content for content in contents
    ]


def _with_value(content: Content, opened: PlainSecret | None) -> Content:
    if opened is None:
        return content
    return replace(content, value=msgspec.json.decode(opened.value), sealed=None)
