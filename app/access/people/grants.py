"""Create, list and revoke grants. Administrators see and manage those within their own rights."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.access import tokens
from app.access.actors import actor_names
from app.access.delegation import reaches_anywhere
from app.access.format import generate_secret
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.people.book import GrantBook
from app.access.people.edit import AccessEdit, AccessEventName, check_group, check_reason
from app.access.people.models import RoleGrant, person_id_of
from app.access.people.rows import find_person, grant_of, insert_grant
from app.access.people.signatures import RowSigner
from app.access.people.views import GrantPage, GrantView, NewGrant
from app.access.permissions import ALL_KEYS, Keys, Rights
from app.database import Connection, sql
from app.errors import Conflict, NotFound, Violation, invalid
from app.names import is_stored_key
from app.settings import Secret

# Each instance has all grants in memory.
GRANTS_MAX = 5_000
# One statement reads this many grants.
GRANTS_AT_ONCE = 500
PREFIX_RULE = (
    "must be empty, or begin with a letter, a digit or _, and hold only letters, digits and . _ / -"
)


@dataclass(frozen=True, kw_only=True)
class GrantFilter:
    """The grants to list. None selects all."""

    person: str | None = None
    group: str | None = None
    role: str | None = None
    environment: str | None = None
    project: str | None = None

    @property
    def environments(self) -> list[str] | None:
        """A grant matches if it has one of these environments. None selects all grants."""
        return [self.environment, EVERY_ENVIRONMENT] if self.environment else None


async def create(edit: AccessEdit, new: NewGrant) -> RoleGrant:
    """Store a grant. Raises Invalid, Forbidden and Conflict, naming the field."""
    check_reason(new.reason)
    if (new.person is None) == (new.group is None):
        raise invalid("person", "name either a person or a group")
    if new.group is not None:
        check_group("group", new.group)
    if new.prefix and not is_stored_key(new.prefix):
        raise invalid("prefix", PREFIX_RULE)
    environments = frozenset(new.environments)
    person = None if new.person is None else person_id_of(new.person)
    grant = edit.signer.signed(
        RoleGrant(
            id=generate_secret().id,
            person_id=person,
            group_name=new.group,
            role=new.role,
            environments=environments,
            prefix=new.prefix,
            reason=new.reason,
            created_by=edit.origin.actor,
            created_at=datetime.now(UTC),
        )
    )
    # Environments must be locked before access, and a refusal of them names those that exist. So
    # check the rights first, and again behind the lock.
    book = await edit.book()
    _check_role(grant.role, book)
    edit.check_own(book.given(grant))
    await tokens.check_environments(edit.connection, environments)
    if person is not None and await find_person(edit.connection, person) is None:
        raise invalid("person", "must be the ID of a person who has signed in, as ID or person:ID")
    await edit.lock()
    book = await edit.book()
    _check_role(grant.role, book)
    edit.check_own(book.given(grant))
    if await sql.count_grants(edit.connection) >= GRANTS_MAX:
        raise Conflict(
            "grants_full", f"The limit of {GRANTS_MAX} grants is reached. Revoke some first."
        )
    _check_new(grant, book.grants)
    await insert_grant(edit.connection, grant)
    await edit.record(
        AccessEventName.GRANT_CREATED,
        grant.id,
        reason=grant.reason,
        after=described(grant),
        environments=sorted(grant.environments),
        prefix=grant.prefix,
    )
    return grant


async def revoke(edit: AccessEdit, grant_id: str, *, reason: str) -> RoleGrant:
    """Delete a grant, and return it. Raises NotFound, Invalid, and Conflict for the last admin."""
    check_reason(reason)
    async with edit.retaining_an_administrator():
        grant = await find(edit.connection, edit.rights, grant_id)
        await sql.delete_grant(edit.connection, id=grant_id)
    await edit.record(
        AccessEventName.GRANT_REVOKED,
        grant.id,
        reason=reason,
        before=described(grant),
        environments=sorted(grant.environments),
        prefix=grant.prefix,
    )
    return grant


async def lapse(edit: AccessEdit, environment: str) -> None:
    """Remove a deleted environment from every grant. Delete the grants that have no other one.

    A later environment of the same name is a different one, so no old grant may reach it.
    The caller has called `edit.lock`.
    """
    async for row in sql.list_grants(edit.connection):
        grant = grant_of(row)
        if environment not in grant.environments:
            continue
        is_genuine = edit.signer.accepts(grant)
        remaining = grant.environments - {environment}
        narrowed = edit.signer.signed(replace(grant, environments=remaining))
        if not remaining:
            await sql.delete_grant(edit.connection, id=grant.id)
        else:
            await sql.narrow_grant(
                edit.connection,
                id=grant.id,
                # A row that was changed by hand must not become valid.
                mac=narrowed.mac if is_genuine else grant.mac,
                environments=sorted(remaining),
            )
        await edit.record(
            AccessEventName.GRANT_NARROWED if remaining else AccessEventName.GRANT_REVOKED,
            grant.id,
            reason=f"the environment {environment} was deleted",
            before=described(grant),
            after=described(narrowed) if remaining else None,
            environments=sorted(grant.environments),
            prefix=grant.prefix,
        )


async def find(connection: Connection, rights: Rights, grant_id: str) -> RoleGrant:
    """Return a grant within these rights. Raises NotFound for any other."""
    row = await sql.get_grant(connection, id=grant_id)
    if row is None or not is_visible(rights, grant := grant_of(row)):
        raise unknown()
    return grant


def unknown() -> NotFound:
    """Return the refusal of an ID that no visible grant has."""
    return NotFound("grant_unknown", "There is no such grant.")


async def list_page(
    connection: Connection,
    key: Secret,
    rights: Rights,
    filters: GrantFilter,
    *,
    after: str = "",
    limit: int,
) -> GrantPage:
    """Return the grants within these rights. Raises NotFound for a project outside of them."""
    name = filters.project
    within = "" if name is None else await _prefix_of(connection, rights, name)
    grants: list[RoleGrant] = []
    is_last = False
    while len(grants) <= limit and not is_last:
        rows = sql.list_grant_page(
            connection,
            after=after,
            person_id=None if filters.person is None else person_id_of(filters.person),
            group_name=filters.group,
            role=filters.role,
            environments=filters.environments,
            within=within,
            page_size=GRANTS_AT_ONCE,
        )
        read = [grant_of(row) async for row in rows]
        grants += visible(rights, read)
        is_last = len(read) < GRANTS_AT_ONCE
        after = read[-1].id if read else after
    page = grants[:limit]
    views = await grant_views(connection, key, page)
    return GrantPage(items=views, next=page[-1].id if len(grants) > limit else None)


async def grant_views(
    connection: Connection, key: Secret, grants: list[RoleGrant]
) -> list[GrantView]:
    """Return grants with the names of their holders and authors."""
    # In slices: thousands of MACs at once would stop the event loop for too long.
    genuine = {grant.id for grant in await RowSigner(key).genuine(grants)}
    actors = [grant.created_by for grant in grants]
    holders = [f"person:{grant.person_id}" for grant in grants if grant.person_id is not None]
    names = await actor_names(connection, actors + holders)
    return [
        GrantView(
            id=grant.id,
            person=grant.person_id,
            group=grant.group_name,
            holder=grant.group_name or names[f"person:{grant.person_id}"],
            role=grant.role,
            environments=sorted(grant.environments),
            prefix=grant.prefix,
            reason=grant.reason,
            created_by=grant.created_by,
            created_by_name=names[grant.created_by],
            created_at=grant.created_at,
            remarks=remarks(is_genuine=grant.id in genuine),
        )
        for grant in grants
    ]


def is_visible(rights: Rights, grant: RoleGrant) -> bool:
    """Return whether an administrator with these rights may see and revoke a grant."""
    return bool(visible(rights, [grant]))


def visible(rights: Rights, grants: Iterable[RoleGrant]) -> list[RoleGrant]:
    """Return the grants that an administrator with these rights may see and revoke.

    Thousands of grants name few sets of environments, so look up the keys of each set once.
    """
    # Of each set of environments: the keys that the administrator has, where these are not all.
    limits: dict[frozenset[str], set[Keys]] = {}
    found = []
    for grant in grants:
        keys = limits.get(grant.environments)
        if keys is None:
            keys = {rights.keys(Scope.ADMIN, name) for name in grant.environments} - {ALL_KEYS}
            limits[grant.environments] = keys
        if not keys or all(grant.prefix in limit for limit in keys):
            found.append(grant)
    return found


def remarks(*, is_genuine: bool) -> list[str]:
    return [] if is_genuine else ["changed outside of the service, and ignored"]


def described(grant: RoleGrant) -> dict[str, object]:
    """Return a grant for the history."""
    holder = {"group": grant.group_name} if grant.group_name else {"person": grant.person_id}
    return {
        **holder,
        "role": grant.role,
        "environments": sorted(grant.environments),
        "prefix": grant.prefix,
        "reason": grant.reason,
    }


def _check_role(role: str, book: GrantBook) -> None:
    if role not in book.roles:
        raise invalid("role", f"must be among {', '.join(sorted(book.roles))}")


def _check_new(grant: RoleGrant, existing: tuple[RoleGrant, ...]) -> None:
    for other in existing:
        # Compare the prefix first: describing thousands of grants is slow.
        if other.prefix == grant.prefix and (
            described(other) | {"reason": ""} == described(grant) | {"reason": ""}
        ):
            raise Conflict(
                "grant_exists", f"There is such a grant already, with the ID {other.id}."
            )


async def _prefix_of(connection: Connection, rights: Rights, project: str) -> str:
    async for row in sql.list_projects(connection):
        prefix: str = row["prefix"]
        if row["name"] == project and reaches_anywhere(rights, prefix):
            return prefix
    raise NotFound(
        "project_unknown",
        "There is no such project.",
        [Violation("project", "must be the name of a project")],
    )
