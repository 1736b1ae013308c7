"""Checks of the database roles: whether they exist, and whether one can do more than its job."""

from collections.abc import Sequence

from app.database import sql
from app.database.role_names import AUDITOR, BACKUP, LOGIN_ROLES, MIGRATOR, OWNER
from app.database.roles.check import role_powers
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.installation import Installation
from app.program import PROGRAM

_WITHOUT_LOGIN = (OWNER, AUDITOR)
_ROLES = (*_WITHOUT_LOGIN, *LOGIN_ROLES)
# The memberships that `database provision` grants. Every owner of a database is pg_database_owner.
_MEMBERSHIPS = {MIGRATOR: {OWNER, "pg_database_owner"}, BACKUP: {"pg_read_all_data"}}


async def check_app_role(installation: Installation) -> Sequence[Finding]:
    """Check that the service's role has no power beyond its job, as each start does."""
    async with installation.database.connection() as connection:
        powers = await role_powers(connection)
    if powers:
        return [installation.unsafe("app role", ", ".join(powers))]
    return [passed("app role", "has no power beyond its job")]


async def check_roles(installation: Installation) -> Sequence[Finding]:
    """Check that our roles exist, with only the attributes and memberships that they need."""
    async with installation.database.connection() as connection:
        rows = [row async for row in sql.list_roles(connection, names=_ROLES)]
        memberships = {
            (row["member"], row["name"])
            async for row in sql.list_memberships(connection, names=_ROLES)
        }
    problems = [row["name"] for row in rows if row["is_powerful"]]
    problems += [
        f"{row['name']} (it can log in)"
        for row in rows
        if row["can_log_in"] and row["name"] in _WITHOUT_LOGIN
    ]
    problems += [
        f"{member} (it can become {name})"
        for member, name in sorted(memberships)
        if name not in _MEMBERSHIPS.get(member, {"pg_database_owner"})
    ]
    missing = sorted({*_ROLES} - {row["name"] for row in rows})
    if problems:
        return [failed("roles", f"with more power than their job needs: {', '.join(problems)}")]
    if missing:
        text = f"missing: {', '.join(missing)}; `{PROGRAM} database provision` creates them"
        return [warned("roles", text)]
    if (MIGRATOR, OWNER) not in memberships:
        return [failed("roles", f"{MIGRATOR} cannot become {OWNER}, so it cannot migrate")]
    return [passed("roles", "all six exist, none with a power or a membership beyond its job")]


async def check_public_rights(installation: Installation) -> Sequence[Finding]:
    """Check the rights of PUBLIC, which every role has."""
    async with installation.database.connection() as connection:
        rights = [row["power"] async for row in sql.list_public_rights(connection)]
    if not rights:
        return [passed("public rights", "a role without grants can create and read nothing")]
    is_ours = any("flagstone" in right or " on " in right for right in rights)
    verdict = failed if is_ours else warned
    return [verdict("public rights", f"every role may {', '.join(rights)}")]


async def check_password_hashes(installation: Installation) -> Sequence[Finding]:
    """Check that our roles' passwords are stored as SCRAM; only a superuser can."""
    connections = (installation.app, installation.migrator)
    names = [*LOGIN_ROLES, *(connection.target.user for connection in connections if connection)]
    async with installation.database.connection() as connection:
        if not await sql.may_read_verifiers(connection):
            return [absent("verifiers", "only a superuser may read pg_authid")]
        weak = [row["name"] async for row in sql.list_weak_verifiers(connection, names=names)]
    if weak:
        return [failed("verifiers", f"not SCRAM: {', '.join(weak)}; set their passwords again")]
    return [passed("verifiers", "all are SCRAM")]
