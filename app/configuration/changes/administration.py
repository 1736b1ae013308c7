"""Administrative changes: creating, deleting and unprotecting environments, and `fractional`."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from app.access import tokens
from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.access.models import Scope
from app.access.people import grants
from app.access.people.edit import AccessEdit
from app.access.permissions import Rights
from app.access.refusals import BY_ADMINISTRATOR
from app.configuration.changes import writes
from app.configuration.changes.views import AppliedChangeSet, AppliedChangeSets
from app.database import Connection
from app.environments.models import Environment
from app.environments.protection import Approval, protection_words
from app.errors import Forbidden
from app.http.conditions import ExpectedVersion


def check_administration(written: AppliedChangeSets, rights: Rights) -> None:
    """Require the scope admin for `fractional`, `protected` and `protection`. Raises Forbidden.

    It must hold for all keys of the environment.

    Runs after the write, because a revert or a restore shows only then what it changes. The error
    rolls the transaction back.
    """
    if any(
        not rights.covers_all(Scope.ADMIN, change_set.environment)
        for change_set, _ in _administered(written)
    ):
        raise Forbidden(
            "scope_missing",
            "Changing fractional, protected or protection needs the scope admin. "
            f"{BY_ADMINISTRATOR}",
        )


async def record_administration(
    connection: Connection, log: AccessLog, written: AppliedChangeSets, origin: Origin
) -> None:
    """Log the administrative changes in the same transaction. Raises Unavailable."""
    for change_set, description in _administered(written):
        detail = f"{description}, revision {change_set.revision}"
        await _record(connection, log, change_set.environment, detail, origin)


class Approved(Protocol):
    """A written change set."""

    @property
    def environment(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def approval(self) -> Approval | None: ...


async def record_emergencies(
    connection: Connection, log: AccessLog, written: Iterable[Approved], origin: Origin
) -> None:
    """Log the change sets that an emergency allowed, in the same transaction.

    Raises Unavailable.
    """
    for change_set in written:
        if change_set.approval is not None and change_set.approval.emergency:
            access = origin.did(
                AccessEvent.EMERGENCY,
                environment=change_set.environment,
                detail=f"revision {change_set.revision}",
            )
            await log.record(connection, access)


async def record_creation(
    connection: Connection, log: AccessLog, environment: Environment, origin: Origin
) -> None:
    """Write the creation of an environment to the access log. Raises Unavailable."""
    await _record(connection, log, environment.name, "created", origin)


async def delete_environment(
    edit: AccessEdit, name: str, *, expected: ExpectedVersion, message: str
) -> Environment:
    """Delete an environment, also from tokens and grants.

    Raises Forbidden, and as `writes.delete_environment` does.
    """
    closed = await writes.delete_environment(
        edit.connection, name, expected=expected, actor=edit.origin.actor, message=message
    )
    await edit.lock()
    if not edit.rights.covers_all(Scope.ADMIN, name):
        raise Forbidden(
            "scope_missing", f"Deleting an environment needs the scope admin. {BY_ADMINISTRATOR}"
        )
    await tokens.lapse(edit, name)
    await grants.lapse(edit, name)
    detail = f"deleted, revision {closed.revision}"
    await _record(edit.connection, edit.log, name, detail, edit.origin)
    return closed


async def _record(
    connection: Connection, log: AccessLog, environment: str, detail: str, origin: Origin
) -> None:
    access = origin.did(
        AccessEvent.ADMINISTRATION, environment=environment, resource="environment", detail=detail
    )
    await log.record(connection, access)


def _administered(written: AppliedChangeSets) -> Iterator[tuple[AppliedChangeSet, str]]:
    """Yield the administrative change sets, each with a description."""
    for change_set in written.change_sets:
        if (change := change_set.properties) is None:
            continue
        pairs = (
            ("fractional", change.before.fractional, change.after.fractional),
            ("protected", change.before.protected, change.after.protected),
            (
                "protection",
                *map(protection_words, (change.before.protection, change.after.protection)),
            ),
        )
        if changed := [f"{name} {old} to {new}".lower() for name, old, new in pairs if old != new]:
            yield change_set, ", ".join(changed)
