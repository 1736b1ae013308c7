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
    """Return the changes with no secret's value in them: each is sealed for its new version.

    One that comes from another version, key or environment is opened for that. Raises as the vault
    does.
    """
    secrets = [change for change in changes if _is_secret(change.after)]
    if not secrets:
        return list(changes)
    values = await _opened(connection, vault, [each.after for each in secrets if each.after])
    entry_versions = [
        EntryVersion(environment=environment, key=each.key, version=each.version or 0)
        for each in secrets
    ]
    sealed = await vault.seal(connection, list(zip(values, entry_versions, strict=True)))
    anew = dict(zip((each.key for each in secrets), sealed, strict=True))
    return [
        replace(change, after=replace(change.after, value=None, sealed=anew[change.key]))
        if change.after is not None and change.key in anew
        else change
        for change in changes
    ]


async def reveal_secrets(
    connection: Connection, vault: Vault, contents: Sequence[Content]
) -> list[Content]:
    """Return the contents with the values of secrets in clear; one that was shredded stays sealed.

    Raises as the vault does.
    """
    sealed = [each.sealed for each in contents if each.sealed is not None]
    opened = iter(await vault.open_unshredded(connection, sealed))
    return [_with_value(each, next(opened)) if each.sealed else each for each in contents]


def _with_value(content: Content, opened: PlainSecret | None) -> Content:
    if opened is None:
        return content
    return replace(content, value=msgspec.json.decode(opened.value), sealed=None)


async def _opened(
    connection: Connection, vault: Vault, contents: Sequence[Content]
) -> list[PlainSecret]:
    """Return what is to be sealed: values as they came, and those that were sealed elsewhere."""
    sealed = [each.sealed for each in contents if each.sealed is not None]
    opened = iter(await vault.open(connection, sealed))
    return [
        next(opened) if each.sealed is not None else fresh(msgspec.json.encode(each.value))
        for each in contents
    ]


def _is_secret(content: Content | None) -> bool:
    return content is not None and content.kind is Kind.SECRET
