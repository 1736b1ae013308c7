"""Compare a document with the stored entries: only the differences become a change set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.access.models import Scope
from app.access.permissions import Keys, Rights
from app.configuration.changes.authority import require_keys
from app.configuration.changes.json_patch import are_equal, have_same_content
from app.configuration.changes.models import (
    ABSENT,
    Content,
    Entry,
    Kind,
    Operation,
)
from app.configuration.changes.properties import PropertiesPatch
from app.configuration.changes.rows import read_entries
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.document_checks import VIOLATIONS_MAX, find_broken
from app.configuration.transfer.documents import Document, Mode
from app.configuration.transfer.secret_names import warn_of_likely_secrets, with_stored_secrets
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Invalid, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault
from app.threads import free_later, in_thread, in_turn


@dataclass(frozen=True, kw_only=True)
class ImportPlan:
    """The keys that an import changes, and its operations."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    patch: PropertiesPatch | None = None


async def plan_import(
    connection: Connection,
    environment: str,
    document: Document,
    mode: Mode = Mode.MERGE,
    *,
    checkers: Checkers,
    vault: Vault,
    rights: Rights,
) -> ImportPlan:
    """Lock the environment and compare the document with its entries.

    An entry with only a value keeps its description and schema. A masked secret keeps its value and
    schema. Equal secrets are found and not written again where the caller may reveal them: others
    could guess a value. Deletes only keys that the caller may write or propose.

    Raises Forbidden for other keys in the document, NotFound for the environment, Invalid for keys
    of another kind or the first value that breaks its schema, and as the vault does.
    """
    await environments.lock(connection, environment)
    keys = {*document.entries, *document.masked}
    # Before the comparison, which would tell whether foreign entries exist.
    require_keys(rights, Scope.PROPOSE, environment, keys)
    if mode is Mode.REPLACE:
        kinds = sorted(document.kinds)
        rows = sql.list_keys(connection, environment=environment, kinds=kinds)
        proposable = rights.keys(Scope.PROPOSE, environment)
        keys |= {row["key"] async for row in rows if row["key"] in proposable}
    stored = await read_entries(connection, environment, sorted(keys))
    document = await in_turn("kinds", lambda: _with_stored_kinds(document, stored))
    revealable = rights.keys(Scope.REVEAL, environment)
    stored = await _with_values(connection, vault, stored, document, revealable)
    current = await environments.get(connection, environment)
    plan = ImportPlan(patch=_patch(current.metadata, document.metadata, mode))

    def compare() -> None:
        for key in sorted(keys):
            _plan_entry(plan, stored[key], document)
        plan.warnings.extend(warn_of_likely_secrets(plan.operations))

    await in_turn("compare", compare)
    free_later(document.entries, stored, plan.operations)
    if not document.is_whole:
        # The document has only values. They must match the stored schemas.
        contents = [
            (operation.key, operation.content)
            for operation in plan.operations
            if operation.content and (operation.content.schema or operation.content.description)
        ]

        def check() -> None:
            with checkers.request() as request:
                _, refused = find_broken(contents, request, lenient=document.is_lenient)
            if refused:
                raise Invalid.of("entries_invalid", refused[:VIOLATIONS_MAX])

        await in_thread("check values", check)
    return plan


def _with_stored_kinds(document: Document, stored: dict[str, Entry]) -> Document:
    """Return the document with stored secrets as secrets. Raises Invalid for other kinds."""
    document = with_stored_secrets(document, stored)
    violations = [
        Violation(key, f"is a {current.kind} already, and kinds never change")
        for key, content in (*document.entries.items(), *document.masked.items())
        if (current := stored[key].content) is not None and current.kind is not content.kind
    ]
    if violations:
        raise Invalid("kind_fixed", f"{violations[0].field} {violations[0].rule}", violations)
    return document


def _patch(
    stored: Mapping[str, Any], imported: Mapping[str, Any] | None, mode: Mode
) -> PropertiesPatch | None:
    """Return the change of the flag set's metadata, or None without a difference."""
    if imported is None:
        return None
    metadata = imported if mode is Mode.REPLACE else {**stored, **imported}
    if are_equal(stored, metadata):
        return None
    # Null removes a member.
    return PropertiesPatch(metadata=dict.fromkeys(stored) | dict(metadata))


def _plan_entry(plan: ImportPlan, stored: Entry, document: Document) -> None:
    key, current, imported = stored.key, stored.content, document.entries.get(stored.key)
    if key in document.masked:
        _plan_masked(plan, stored, document)
    elif imported is None:
        plan.deleted.append(key)
        plan.operations.append(_operation(document, stored, None))
    elif current is None:
        plan.created.append(key)
        plan.operations.append(_operation(document, stored, imported))
    elif document.is_whole and not have_same_content(current, imported):
        plan.updated.append(key)
        plan.operations.append(_operation(document, stored, imported))
    elif not document.is_whole and not are_equal(current.value, imported.value):
        plan.updated.append(key)
        content = replace(current, value=imported.value)
        plan.operations.append(_operation(document, stored, content))
    else:
        plan.unchanged.append(key)


def _plan_masked(plan: ImportPlan, stored: Entry, document: Document) -> None:
    key, current, imported = stored.key, stored.content, document.masked[stored.key]
    if current is None:
        plan.warnings.append(f"{key}: a secret without its value was left out")
        return
    if not are_equal(current.schema, imported.schema):
        # Checking the stored value against another schema would reveal it, one pattern at a time.
        plan.warnings.append(f"{key}: the schema of a secret without its value was left out")
    if current.description == imported.description:
        plan.unchanged.append(key)
        return
    plan.updated.append(key)
    content = replace(current, description=imported.description)
    plan.operations.append(_operation(document, stored, content))


async def _with_values(
    connection: Connection,
    vault: Vault,
    stored: dict[str, Entry],
    document: Document,
    revealable: Keys,
) -> dict[str, Entry]:
    """Return the entries with the clear values of revealable secrets that the document has too."""
    secrets = {
        key: current
        for key, content in document.entries.items()
        if key in revealable
        and content.kind is Kind.SECRET
        and (current := stored[key].content) is not None
    }
    # A shredded secret stays sealed, so it differs from the document.
    clear = await reveal_secrets(connection, vault, list(secrets.values()))
    values = dict(zip(secrets, clear, strict=True))
    return {
        key: replace(entry, content=values.get(key, entry.content)) for key, entry in stored.items()
    }


def _operation(document: Document, stored: Entry, content: Content | None) -> Operation:
    expected = ABSENT if stored.version is None else ExpectedVersion(version=stored.version)
    return Operation(
        key=stored.key, content=content, expected=expected, is_lenient=document.is_lenient
    )
