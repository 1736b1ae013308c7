"""The roles: whether they are there, and whether any can do more than its job."""

from collections.abc import Sequence

from app.database import sql
from app.database.role_names import AUDITOR, BACKUP, LOGIN_ROLES, MIGRATOR, OWNER
from app.database.roles.check import role_powers
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.patient import Patient
from app.settings import STRICT_TIERS

# Nobody speaks as them.
_CLOSED = (OWNER, AUDITOR)
# What `database provision` makes them members of; and what owning the database brings with it.
_MEMBERS = {MIGRATOR: {OWNER, "pg_database_owner"}, BACKUP: {"pg_read_all_data"}}
_PROVISION = "`database provision` makes them"


async def look_at_app_role(patient: Patient) -> Sequence[Finding]:
    """Look at all that the service's role may do beyond its job."""
    async with patient.database.connection() as connection:
        powers = await role_powers(connection)
    if not powers:
        return [passed("app role", "has no power beyond its job")]
    verdict = failed if patient.settings.tier in STRICT_TIERS else warned
    return [verdict("app role", ", ".join(powers))]


async def look_at_roles(patient: Patient) -> Sequence[Finding]:
    """Look at the roles of ours that should be there, and at what they are."""
    names = [*_CLOSED, *LOGIN_ROLES]
    async with patient.database.connection() as connection:
        rows = [row async for row in sql.list_roles(connection, names=names)]
        pairs = {
            (row["member"], row["name"])
            async for row in sql.list_memberships(connection, names=names)
        }
    powerful = [row["name"] for row in rows if row["is_powerful"]]
    open_ones = sorted({row["name"] for row in rows if row["can_log_in"]}.intersection(_CLOSED))
    powerful += [f"{name} (it can log in)" for name in open_ones]
    powerful += [
        f"{member} (it can become {name})"
        for member, name in sorted(pairs)
        if name not in _MEMBERS.get(member, {"pg_database_owner"})
    ]
    missing = sorted({*_CLOSED, *LOGIN_ROLES} - {row["name"] for row in rows})
    if powerful:
        return [failed("roles", f"more than they should be: {', '.join(powerful)}")]
    if missing:
        return [warned("roles", f"missing: {', '.join(missing)}; {_PROVISION}")]
    if (MIGRATOR, OWNER) not in pairs:
        return [failed("roles", f"{MIGRATOR} cannot become {OWNER}, so it can migrate nothing")]
    return [passed("roles", "all six are there, none with a power or a membership beyond its job")]


async def look_at_open_doors(patient: Patient) -> Sequence[Finding]:
    """Look at what everybody may do who can connect, whichever role that is."""
    async with patient.database.connection() as connection:
        doors = [row["door"] async for row in sql.list_open_doors(connection)]
    if not doors:
        return [passed("open doors", "whoever can connect may make and read nothing by that")]
    verdict = failed if any("flagstone" in door or " on " in door for door in doors) else warned
    return [verdict("open doors", f"every role may {', '.join(doors)}")]


async def look_at_verifiers(patient: Patient) -> Sequence[Finding]:
    """Look at how the passwords of our roles are stored, where anybody but a superuser may."""
    names = [*LOGIN_ROLES, *(way.target.user for way in (patient.app, patient.migrator) if way)]
    async with patient.database.connection() as connection:
        if not await sql.may_read_verifiers(connection):
            return [absent("verifiers", "only a superuser may read pg_authid")]
        weak = [row["name"] async for row in sql.list_weak_verifiers(connection, names=names)]
    if weak:
        return [failed("verifiers", f"not SCRAM: {', '.join(weak)}; set the passwords anew")]
    return [passed("verifiers", "all are SCRAM")]
