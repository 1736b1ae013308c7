"""Create, list, change and delete roles. Only an administrator of everything changes them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from app.access.actors import actor_names
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.people.edit import AccessEdit, AccessEventName, check_text
from app.access.people.grants import remarks
from app.access.people.models import Role
from app.access.people.roles import BUILT_IN
from app.access.people.rows import grant_of, list_own_roles
from app.access.people.signatures import RowSigner
from app.access.people.views import DESCRIPTION_MAX, NewRole, RoleChange, RoleView
from app.database import Connection, sql
from app.database.client.faults import constraint
from app.errors import Conflict, NotFound, Stale, Violation, invalid
from app.http.conditions import ExpectedVersion
from app.names import ENVIRONMENT_RULE, is_environment
from app.settings import Secret

ROLES_MAX = 200


async def list_all(connection: Connection) -> list[Role]:
    """Return all roles, those that are built in first."""
    own = [role for role in await list_own_roles(connection) if role.name not in BUILT_IN]
    return [*BUILT_IN.values(), *own]


async def get(connection: Connection, name: str) -> Role:
    """Return one role. Raises NotFound."""
    for role in await list_all(connection):
        if role.name == name:
            return role
    raise NotFound("role_unknown", "There is no such role.")


async def create(edit: AccessEdit, new: NewRole) -> Role:
    """Store a role. Raises Invalid, Forbidden and Conflict, naming the field."""
    if not is_environment(new.name):
        raise invalid("name", ENVIRONMENT_RULE)
    now = datetime.now(UTC)
    role = edit.signer.signed(
        Role(
            name=new.name,
            scopes=frozenset(new.scopes),
            description=new.description,
            created_by=edit.origin.actor,
            created_at=now,
            updated_at=now,
        )
    )
    await edit.lock()
    _check(edit, role, new.reason)
    violation = Violation("name", "must not be the name of an existing role")
    taken = Conflict("role_taken", "A role of this name exists.", [violation])
    if role.name in BUILT_IN:
        raise taken
    if len(await list_own_roles(edit.connection)) >= ROLES_MAX:
        raise Conflict(
            "roles_full", f"The limit of {ROLES_MAX} roles is reached. Delete one first."
        )
    # The role that has the name may be one of a newer release, which no list has.
    with constraint("roles_pkey", taken):
        await sql.insert_role(
            edit.connection,
            name=role.name,
            mac=role.mac,
            description=role.description,
            scopes=sorted(role.scopes),
            created_by=role.created_by,
            at=now,
        )
    await edit.record(
        AccessEventName.ROLE_CREATED, role.name, reason=new.reason, after=described(role)
    )
    return role


async def change(
    edit: AccessEdit, name: str, changed: RoleChange, *, expected: ExpectedVersion
) -> Role:
    """Change the scopes and the description of a role, and so of all its grants.

    Raises NotFound, Conflict for a built-in role and for the last admin, Stale, Invalid, Forbidden.
    """
    async with edit.retaining_an_administrator():
        edit.require_everything()
        before = await _get_changeable(edit.connection, name, expected)
        after = replace(before, scopes=frozenset(changed.scopes), description=changed.description)
        _check(edit, after, changed.reason)
        await sql.update_role(
            edit.connection,
            name=name,
            mac=edit.signer.signed(after).mac,
            description=after.description,
            scopes=sorted(after.scopes),
        )
    await edit.record(
        AccessEventName.ROLE_CHANGED,
        name,
        reason=changed.reason,
        before=described(before),
        after=described(after),
    )
    return await get(edit.connection, name)


async def delete(
    edit: AccessEdit, name: str, *, expected: ExpectedVersion, reason: str = ""
) -> Role:
    """Delete a role that no grant has, and return it. Raises as `change` does."""
    check_text("reason", reason)
    await edit.lock()
    edit.require_everything()
    role = await _get_changeable(edit.connection, name, expected)
    async for row in sql.list_grants(edit.connection):
        if row["role"] == name:
            raise Conflict(
                "role_in_use",
                f"The grant {grant_of(row).id} has this role. Revoke the grants of the role first.",
            )
    await sql.delete_role(edit.connection, name=name)
    await edit.record(AccessEventName.ROLE_DELETED, name, reason=reason, before=described(role))
    return role


async def role_views(connection: Connection, key: Secret, roles: Iterable[Role]) -> list[RoleView]:
    """Return roles with the names of their authors."""
    signer, roles = RowSigner(key), list(roles)
    names = await actor_names(connection, [role.created_by or None for role in roles])
    return [_view(role, names, is_genuine=signer.accepts(role)) for role in roles]


def described(role: Role) -> dict[str, object]:
    """Return a role for the history."""
    return {"scopes": sorted(role.scopes), "description": role.description}


def _check(edit: AccessEdit, role: Role, reason: str) -> None:
    check_text("description", role.description, DESCRIPTION_MAX)
    check_text("reason", reason)
    if Scope.RELAY in role.scopes:
        raise invalid("scopes", "must not have relay, which is for tokens of relays")
    edit.require_everything()
    everything = frozenset({EVERY_ENVIRONMENT})
    edit.check_own(Grant(scopes=role.scopes, environments=everything, expires_at=None))


async def _get_changeable(connection: Connection, name: str, expected: ExpectedVersion) -> Role:
    """Return a role that is not built in. Raises Conflict, NotFound and Stale."""
    if name in BUILT_IN:
        raise Conflict("role_built_in", "This role is built in. Create a role of your own.")
    role = await get(connection, name)
    if not expected.is_met(role.version, ""):
        raise Stale("The role was changed meanwhile.", version=role.version, epoch="")
    return role


def _view(role: Role, names: dict[str, str], *, is_genuine: bool) -> RoleView:
    is_built_in = role.name in BUILT_IN
    return RoleView(
        name=role.name,
        scopes=[scope for scope in Scope if scope in role.scopes],
        description=role.description,
        built_in=is_built_in,
        version=role.version,
        created_by=None if is_built_in else role.created_by,
        created_by_name=None if is_built_in else names[role.created_by],
        created_at=role.created_at,
        updated_at=role.updated_at,
        remarks=remarks(is_genuine=is_genuine or is_built_in),
    )
