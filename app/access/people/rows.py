"""The rows of people, roles, grants and projects."""

import asyncio

import asyncpg

from app.access.models import Scope
from app.access.people.book import GrantBook
from app.access.people.models import Person, Project, Role, RoleGrant, SignedRow
from app.access.people.signatures import RowSigner
from app.database import Connection, sql

# The event loop gets a turn after each slice of this many grants, which takes 2 ms.
_SLICE_GRANTS = 250


async def read_book(
    connection: Connection, signer: RowSigner, unsigned: list[SignedRow] | None = None
) -> GrantBook:
    """Return the roles, grants and projects in force. Add rows with a wrong MAC to `unsigned`."""
    grants: list[RoleGrant] = []
    async for row in sql.list_grants(connection):
        grants.append(grant_of(row))
        if len(grants) % _SLICE_GRANTS == 0:
            await asyncio.sleep(0)
    projects = [project_of(row) async for row in sql.list_projects(connection)]
    return GrantBook(
        await signer.genuine(await list_own_roles(connection), unsigned),
        await signer.genuine(grants, unsigned),
        await signer.genuine(projects, unsigned),
    )


async def list_own_roles(connection: Connection) -> list[Role]:
    """Return the roles that are not built in, except those with a scope of a newer release."""
    rows = sql.list_own_roles(connection)
    return [role_of(row) async for row in rows if set(row["scopes"]) <= set(Scope)]


async def insert_grant(connection: Connection, grant: RoleGrant) -> None:
    await sql.insert_grant(
        connection,
        id=grant.id,
        mac=grant.mac,
        person_id=grant.person_id,
        group_name=grant.group_name,
        role=grant.role,
        environments=sorted(grant.environments),
        prefix=grant.prefix,
        reason=grant.reason,
        created_by=grant.created_by,
        created_at=grant.created_at,
    )


async def find_person(connection: Connection, person_id: str) -> Person | None:
    """Return a person, whether the MAC is valid or not. None for an unknown ID."""
    rows = sql.list_people(connection, ids=[person_id], after="", page_size=1)
    async for row in rows:
        return person_of(row)
    return None


def person_of(row: asyncpg.Record) -> Person:
    return Person(**{**row, "groups": tuple(row["groups"])})


def role_of(row: asyncpg.Record) -> Role:
    return Role(**{**row, "scopes": frozenset(map(Scope, row["scopes"]))})


def grant_of(row: asyncpg.Record) -> RoleGrant:
    return RoleGrant(**{**row, "environments": frozenset(row["environments"])})


def project_of(row: asyncpg.Record) -> Project:
    return Project(**row)
