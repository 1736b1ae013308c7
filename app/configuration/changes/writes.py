"""Write several keys, and create or delete environments, in the caller's transaction."""

from collections.abc import Mapping
from operator import itemgetter

from app.access.models import Scope
from app.configuration.changes import service
from app.configuration.changes.authority import OPERATOR_AUTHORITY, Authority, require_keys
from app.configuration.changes.models import ChangeKind, ChangeSet, Kind, Operation
from app.configuration.changes.plans import ChangePlan
from app.configuration.changes.properties import (
    Intent,
    PropertiesPatch,
    ProtectionPatch,
    check_members,
    patch_towards,
)
from app.configuration.changes.proposed import combined, proposed_operations
from app.configuration.changes.requests import AnyOperation, NewEnvironment
from app.configuration.changes.views import AppliedChangeSet, AppliedChangeSets, made_view
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.errors import ApprovalRequired, Conflict, Forbidden, Violation
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault

# These can be limited to prefixes.
_NARROWED = {ChangeKind.REVERT, ChangeKind.RESTORE}


async def apply(
    connection: Connection,
    intents: Mapping[str, Intent],
    *,
    actor: str,
    message: str,
    kind: ChangeKind = ChangeKind.EDIT,
    vault: Vault | None = None,
    authority: Authority,
    is_dry_run: bool = False,
) -> AppliedChangeSets:
    """Write one change set in each environment. Raises as `service.apply`.

    If one lacks approvals, the error has the operations of all environments.
    """
    written: list[AppliedChangeSet] = []
    change_sets: list[ChangeSet] = []
    refused: list[ApprovalRequired] = []
    # Ordered by name, so that two writes cannot deadlock.
    for environment, intent in sorted(intents.items(), key=itemgetter(0)):
        if intent.operations or intent.patch:
            try:
                change_set = await service.apply(
                    connection,
                    environment,
                    intent.operations,
                    actor=actor,
                    kind=kind,
                    message=message,
                    vault=vault,
                    patch=intent.patch,
                    authority=authority,
                    is_dry_run=is_dry_run,
                )
            except ApprovalRequired as error:
                refused.append(error)
                continue
            change_sets.append(change_set)
            written.append(await made_view(change_set))
    if refused:
        others = [
            operation
            for change_set in change_sets
            for operation in _proposed(intents[change_set.environment], change_set)
        ]
        raise combined(refused, others, message)
    return AppliedChangeSets(change_sets=written)


def _proposed(intent: Intent, change_set: ChangeSet) -> list[AnyOperation]:
    versions = {change.key: change.before.version for change in change_set.changes}
    return proposed_operations(
        change_set.environment, intent.operations, versions, change_set.properties
    )


async def apply_plan(
    connection: Connection,
    plan: ChangePlan,
    *,
    actor: str,
    message: str,
    vault: Vault,
    authority: Authority,
    is_dry_run: bool = False,
) -> AppliedChangeSets:
    """Write the change set of a plan, unless it is empty. Raises as `service.apply`.

    The author must be able to read each key, because the answer has what they did not send.
    """
    keys = [operation.key for operation in plan.intent.operations]
    try:
        require_keys(authority.rights, Scope.READ, plan.environment, keys)
        return await apply(
            connection,
            {plan.environment: plan.intent},
            actor=actor,
            message=message or plan.message,
            kind=plan.kind,
            vault=vault,
            authority=authority,
            is_dry_run=is_dry_run,
        )
    except Forbidden as error:
        if error.code != "key_foreign" or plan.kind not in _NARROWED:
            raise
        advice = f"To {plan.kind} only your own keys, name their prefixes."
        raise Forbidden(error.code, f"{error.message} {advice}", error.violations) from None


async def create_environment(
    connection: Connection, body: NewEnvironment, *, actor: str
) -> Environment:
    """Create an environment with a first change set, which records the actor and the properties.

    The caller has checked the scope admin. Raises as `environments.insert`, and Invalid or TooLarge
    for its metadata.
    """
    check_members(body.metadata)
    await environments.insert(connection, body.name, body.tier)
    await service.apply(
        connection,
        body.name,
        (),
        actor=actor,
        message=body.message or "Create the environment",
        patch=PropertiesPatch(
            metadata=body.metadata,
            fractional=body.fractional,
            protected=body.protected,
            protection=ProtectionPatch.towards(body.protection),
        ),
        authority=OPERATOR_AUTHORITY,
    )
    return await environments.get(connection, body.name)


async def delete_environment(
    connection: Connection, name: str, *, expected: ExpectedVersion, actor: str, message: str
) -> Environment:
    """Delete an environment by a last change set that deletes every entry. Its history stays.

    The caller has checked the scope admin. A trigger destroys its data keys. `expected` is the
    version of the properties. Returns the last state. Raises NotFound, Stale, and Conflict for a
    protected environment: no proposal deletes an environment, but one can remove the protection.
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
    if current.protection is not None:
        raise Conflict(
            "environment_protected",
            "The environment is protected. Remove its protection before you delete it.",
            [Violation("protection", "must be null")],
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
        authority=OPERATOR_AUTHORITY,
    )
    closed = await environments.get(connection, name)
    await sql.close_environment(connection, name=name)
    await sql.delete_answers_about(connection, environment=name)
    return closed
