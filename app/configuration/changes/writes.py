"""Writes of several keys and of whole environments.

Each function runs in the caller's transaction and returns what it changed.
"""

from collections.abc import Awaitable, Callable, Mapping
from operator import itemgetter

from app.configuration.changes import service
from app.configuration.changes.models import ChangeKind, Kind, Operation
from app.configuration.changes.plans import ChangePlan
from app.configuration.changes.properties import (
    Intent,
    PropertiesPatch,
    check_members,
    patch_towards,
)
from app.configuration.changes.requests import NewEnvironment
from app.configuration.changes.views import MadeChangeSet, MadeChangeSets, made_view
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.errors import Conflict, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault

Work = Callable[[Connection], Awaitable[MadeChangeSets]]


async def apply(
    connection: Connection,
    intents: Mapping[str, Intent],
    *,
    actor: str,
    message: str,
    kind: ChangeKind = ChangeKind.EDIT,
    vault: Vault | None = None,
) -> MadeChangeSets:
    """Make one change set in each environment. Raises as `service.apply` does."""
    made: list[MadeChangeSet] = []
    # In the order of their names, so that two such writes never wait for each other in a circle.
    for environment, intent in sorted(intents.items(), key=itemgetter(0)):
        if intent.operations or intent.patch:
            change_set = await service.apply(
                connection,
                environment,
                intent.operations,
                actor=actor,
                kind=kind,
                message=message,
                vault=vault,
                patch=intent.patch,
            )
            made.append(await made_view(change_set))
    return MadeChangeSets(change_sets=made)


async def apply_plan(
    connection: Connection, plan: ChangePlan, *, actor: str, message: str, vault: Vault
) -> MadeChangeSets:
    """Make the change set of a plan; none when nothing differs. Raises as `service.apply` does."""
    return await apply(
        connection,
        {plan.environment: plan.intent},
        actor=actor,
        message=message or plan.message,
        kind=plan.kind,
        vault=vault,
    )


async def create_environment(
    connection: Connection, wanted: NewEnvironment, *, actor: str
) -> Environment:
    """Make an environment; its first change set says who did, and what it says of itself.

    Raises as `environments.insert` does, and Invalid or TooLarge for its metadata.
    """
    check_members(wanted.metadata)
    await environments.insert(connection, wanted.name, wanted.tier)
    await service.apply(
        connection,
        wanted.name,
        (),
        actor=actor,
        message=wanted.message or "Create the environment",
        patch=PropertiesPatch(
            metadata=wanted.metadata, fractional=wanted.fractional, protected=wanted.protected
        ),
    )
    return await environments.get(connection, wanted.name)


async def delete_environment(
    connection: Connection, name: str, *, expected: ExpectedVersion, actor: str, message: str
) -> Environment:
    """Delete an environment: its last change set empties it and closes its history, which stays.

    Its data keys are destroyed. Returns it as it was closed. `expected` is of the properties'
    version. Raises NotFound; Stale; Conflict for a protected one.
    """
    await environments.lock(connection, name)
    current = await environments.get(connection, name)
    if not expected.is_met(current.version, current.epoch):
        raise service.stale_environment(current.version, current.epoch)
    if current.protected:
        raise Conflict(
            "environment_protected",
            "The environment is protected. Set protected to false before you delete it.",
            [Violation("protected", "must be false")],
        )
    keys = [
        row["key"] async for row in sql.list_keys(connection, environment=name, kinds=sorted(Kind))
    ]
    first = Properties(metadata={}, fractional="v3", protected=False, version=current.version)
    await service.apply(
        connection,
        name,
        [Operation(key=key, content=None, expected=None) for key in keys],
        actor=actor,
        kind=ChangeKind.DELETE,
        message=message or "Delete the environment",
        patch=patch_towards(first, current.properties),
    )
    closed = await environments.get(connection, name)
    await sql.close_environment(connection, name=name)
    await sql.forget_answers_about(connection, environment=name)
    return closed
