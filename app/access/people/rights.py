"""The rights of actors from the database, for who approves or schedules.

Callers have theirs in memory.
"""

from collections.abc import Iterable, Mapping

import asyncpg

from app.access.models import Grant, Scope
from app.access.people.rows import person_of, read_book
from app.access.people.signatures import RowSigner
from app.access.permissions import OPERATOR_RIGHTS, Rights
from app.database import Connection, sql
from app.settings import Secret

_TOKEN = "token:"  # noqa: S105 - a prefix
_PERSON = "person:"
_OPERATOR = "operator:"

NO_RIGHTS = Rights([])


async def rights_of(
    connection: Connection, key: Secret, actors: Iterable[str]
) -> dict[str, Rights]:
    """Return what each actor may do now.

    A token that was replaced has the rights of its successor. A revoked or expired token, a
    suspended person and any other actor have none.
    """
    actors = set(actors)
    found = dict.fromkeys(actors, NO_RIGHTS)
    found |= {actor: OPERATOR_RIGHTS for actor in actors if actor.startswith(_OPERATOR)}
    if ids := _ids(actors, _TOKEN):
        async for row in sql.list_holders(connection, actors=ids):
            if row["is_usable"]:
                found[_TOKEN + row["id"]] = Rights([_grant(row)])
    if ids := _ids(actors, _PERSON):
        found |= await _rights_of_people(connection, RowSigner(key), ids)
    return found


async def _rights_of_people(
    connection: Connection, signer: RowSigner, ids: list[str]
) -> Mapping[str, Rights]:
    book = await read_book(connection, signer)
    rows = sql.list_people(
        connection, ids=ids, after="", search=None, group_name=None, page_size=len(ids)
    )
    people = await signer.genuine([person_of(row) async for row in rows])
    return {
        person.actor: book.rights(person.id, person.groups)
        for person in people
        if person.suspended_at is None
    }


def _ids(actors: Iterable[str], kind: str) -> list[str]:
    return sorted(actor.removeprefix(kind) for actor in actors if actor.startswith(kind))


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(
        # A token may have a scope of a newer release, which means nothing here.
        scopes=frozenset(scope for scope in Scope if scope in row["scopes"]),
        environments=frozenset(row["environments"]),
        prefixes=frozenset(row["prefixes"]),
        expires_at=None,
    )
