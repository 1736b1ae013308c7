"""From a document to a change set: what differs is written, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.configuration.changes import service as changes
from app.configuration.changes.json_patch import are_equal, have_same_content
from app.configuration.changes.models import (
    ABSENT,
    ChangeKind,
    ChangeSet,
    Content,
    Entry,
    Kind,
    Operation,
)
from app.configuration.changes.properties import PropertiesPatch
from app.configuration.changes.rows import read_entries
from app.configuration.changes.sealing import reveal_secrets
from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.document_checks import check_contents
from app.configuration.transfer.documents import Document, Mode
from app.configuration.transfer.secret_names import warn_of_likely_secrets, with_stored_secrets
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Invalid, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault
from app.threads import free_later, in_thread, in_turn


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an import would do, by key."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    patch: PropertiesPatch | None = None


async def plan(
    connection: Connection,
    environment: str,
    document: Document,
    mode: Mode = Mode.MERGE,
    *,
    checkers: Checkers,
    known: Vault | None = None,
) -> Plan:
    """Compare a document with what is there, which nobody else can change until this is over.

    An entry whose document tells values alone keeps its description and schema; a secret that is
    masked in the document keeps its value and schema. A secret's value is compared only with
    `known`, the vault of somebody who may reveal it: others could guess at it that way, and have it
    written anew. Raises NotFound for the environment; Invalid that names each key of another kind,
    or the first value that breaks its schema; and as the vault does.
    """
    await environments.lock(connection, environment)
    keys = {*document.entries, *document.masked}
    if mode is Mode.REPLACE:
        kinds = sorted(document.kinds)
        keys |= {
            r["key"] async for r in sql.list_keys(connection, environment=environment, kinds=kinds)
        }
    found = await read_entries(connection, environment, sorted(keys))
    document = await in_turn("kinds", lambda: _with_stored_kinds(document, found))
    if known is not None:
        found = await _with_values(connection, known, found, document)
    current = await environments.get(connection, environment)
    made = Plan(patch=_patch(current.metadata, document.metadata, mode))

    def compare() -> None:
        for key in sorted(keys):
            _plan_one(made, found[key], document)
        made.warnings.extend(warn_of_likely_secrets(made.operations))

    await in_turn("compare", compare)
    free_later(document.entries, found, made.operations)
    if not document.is_whole:
        # The document has values alone, which must keep to the schemas that are there.
        kept = [
            (operation.key, operation.content)
            for operation in made.operations
            if operation.content and (operation.content.schema or operation.content.description)
        ]

        def check() -> None:
            with checkers.request() as request:
                check_contents(kept, request, lenient=document.is_lenient)

        await in_thread("check values", check)
    return made


async def apply_plan(
    connection: Connection,
    environment: str,
    wanted: Plan,
    *,
    actor: str,
    message: str,
    vault: Vault | None = None,
) -> ChangeSet | None:
    """Make the one change set of a plan, unless there is nothing to change."""
    if not wanted.operations and wanted.patch is None:
        return None
    return await changes.apply(
        connection,
        environment,
        wanted.operations,
        actor=actor,
        kind=ChangeKind.IMPORT,
        message=message,
        vault=vault,
        patch=wanted.patch,
    )


def _with_stored_kinds(document: Document, found: dict[str, Entry]) -> Document:
    """Return the document with the secrets that are stored. Raises Invalid for other kinds."""
    document = with_stored_secrets(document, found)
    _check_kinds(document, found)
    return document


def _check_kinds(document: Document, found: dict[str, Entry]) -> None:
    violations = [
        Violation(key, f"is a {there.kind} already, and kinds never change")
        for key, content in (*document.entries.items(), *document.masked.items())
        if (there := found[key].content) is not None and there.kind is not content.kind
    ]
    if violations:
        raise Invalid("kind_fixed", f"{violations[0].field} {violations[0].rule}", violations)


def _patch(
    found: Mapping[str, Any], wanted: Mapping[str, Any] | None, mode: Mode
) -> PropertiesPatch | None:
    """Return what the document does to the flag set's metadata: what it lacks stays or goes."""
    if wanted is None:
        return None
    becomes = wanted if mode is Mode.REPLACE else {**found, **wanted}
    if are_equal(found, becomes):
        return None
    return PropertiesPatch(metadata=dict.fromkeys(found) | dict(becomes))


def _plan_one(made: Plan, found: Entry, document: Document) -> None:
    """Add what is to be done about one key."""
    wanted = document.entries.get(found.key)
    there = found.content
    if found.key in document.masked:
        _plan_masked(made, found, document)
    elif wanted is None:
        made.deleted.append(found.key)
        made.operations.append(_operation(document, found, None))
    elif there is None:
        made.created.append(found.key)
        made.operations.append(_operation(document, found, wanted))
    elif _is_as_wanted(there, wanted, is_whole=document.is_whole):
        made.unchanged.append(found.key)
    else:
        made.updated.append(found.key)
        made.operations.append(
            _operation(document, found, wanted if document.is_whole else there, wanted)
        )


def _plan_masked(made: Plan, found: Entry, document: Document) -> None:
    wanted, there = document.masked[found.key], found.content
    if there is None:
        made.warnings.append(f"{found.key}: a secret without its value was left out")
        return
    if not are_equal(there.schema, wanted.schema):
        # Whether a value keeps to another schema would tell what it is, a pattern at a time.
        made.warnings.append(f"{found.key}: the schema of a secret without its value was left out")
    if there.description == wanted.description:
        made.unchanged.append(found.key)
        return
    made.updated.append(found.key)
    made.operations.append(
        _operation(document, found, replace(there, description=wanted.description))
    )


async def _with_values(
    connection: Connection, vault: Vault, found: dict[str, Entry], document: Document
) -> dict[str, Entry]:
    """Return the entries with the values of those secrets in clear that the document has too."""
    secrets = {
        key: found[key].content
        for key, content in document.entries.items()
        if content.kind is Kind.SECRET and found[key].content is not None
    }
    contents = [content for content in secrets.values() if content is not None]
    # One that was shredded stays sealed, and so differs.
    values = dict(zip(secrets, await reveal_secrets(connection, vault, contents), strict=True))
    return {
        key: replace(entry, content=values.get(key, entry.content)) for key, entry in found.items()
    }


def _operation(
    document: Document, found: Entry, content: Content | None, value_of: Content | None = None
) -> Operation:
    if content is not None and value_of is not None:
        content = Content(
            kind=content.kind,
            value=value_of.value,
            schema=content.schema,
            description=content.description,
        )
    expected = ABSENT if found.version is None else ExpectedVersion(version=found.version)
    return Operation(
        key=found.key, content=content, expected=expected, is_lenient=document.is_lenient
    )


def _is_as_wanted(there: Content, wanted: Content, *, is_whole: bool) -> bool:
    return have_same_content(there, wanted) if is_whole else are_equal(there.value, wanted.value)
