"""What is administration among the changes: it moves every bucket, or unprotects an environment."""

from collections.abc import Iterator

from app.access import tokens
from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.access.models import Grant, Scope
from app.configuration.changes import writes
from app.configuration.changes.views import MadeChangeSet, MadeChangeSets
from app.database import Connection
from app.environments.models import Environment
from app.errors import Forbidden
from app.http.conditions import ExpectedVersion
from app.settings import Secret

_RESOURCE = "environment"


def check_administration(made: MadeChangeSets, grant: Grant) -> None:
    """Refuse administration to whoever is no administrator.

    Asked once it is known what happens, as a revert or a restore does not say it beforehand; the
    transaction is given up then. Raises Forbidden.
    """
    if not grant.allows(Scope.ADMIN) and any(_administered(made)):
        raise Forbidden(
            "scope_missing",
            "To change fractional or protected needs a token with the scope admin.",
        )


async def record_administration(
    connection: Connection, log: AccessLog, made: MadeChangeSets, origin: Origin
) -> None:
    """Have the access log tell of it, in the same transaction. Raises Unavailable."""
    for change_set, what in _administered(made):
        access = origin.did(
            AccessEvent.ADMINISTRATION,
            environment=change_set.environment,
            resource=_RESOURCE,
            detail=f"{what}, revision {change_set.revision}",
        )
        await log.record(connection, access)


async def record_creation(
    connection: Connection, log: AccessLog, made: Environment, origin: Origin
) -> None:
    """Have the access log tell of a new environment. Raises Unavailable."""
    access = origin.did(
        AccessEvent.ADMINISTRATION, environment=made.name, resource=_RESOURCE, detail="created"
    )
    await log.record(connection, access)


async def delete_environment(
    connection: Connection,
    log: AccessLog,
    *,
    key: Secret,
    name: str,
    expected: ExpectedVersion,
    message: str,
    origin: Origin,
) -> Environment:
    """Delete an environment with all that holds on to it; return it as it was closed.

    Raises as `writes.delete_environment` does, and Unavailable.
    """
    closed = await writes.delete_environment(
        connection, name, expected=expected, actor=origin.actor, message=message
    )
    await tokens.lapse(connection, log, key, name, origin=origin)
    access = origin.did(
        AccessEvent.ADMINISTRATION,
        environment=closed.name,
        resource=_RESOURCE,
        detail=f"deleted, revision {closed.revision}",
    )
    await log.record(connection, access)
    return closed


def _administered(made: MadeChangeSets) -> Iterator[tuple[MadeChangeSet, str]]:
    """Yield the change sets that are administration, and what each changes."""
    for change_set in made.change_sets:
        if (change := change_set.properties) is None:
            continue
        pairs = (
            ("fractional", change.before.fractional, change.after.fractional),
            ("protected", change.before.protected, change.after.protected),
        )
        if changed := [f"{name} {old} to {new}".lower() for name, old, new in pairs if old != new]:
            yield change_set, ", ".join(changed)
