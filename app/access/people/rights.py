"""Read the rights of actors from the database: to approve, to schedule, and to change access.

Other requests use the rights in memory.
"""

from collections.abc import Iterable, Mapping

import asyncpg

from app.access.caller import Caller
from app.access.models import ConsoleSession, Grant, Scope
from app.access.people.models import suspended
from app.access.people.rows import find_person, person_of, read_book
from app.access.people.signatures import RowSigner
from app.access.permissions import OPERATOR_RIGHTS, Rights, narrowed
from app.database import Connection, sql
from app.errors import Unauthenticated
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


async def current_rights(connection: Connection, key: Secret, caller: Caller) -> Rights:
    """Return what the caller of a request may do now.

    The row of a token can only narrow the rights that the request began with, so a row that was
    changed by hand adds none. Raises Unauthenticated if the token or the session has ended
    meanwhile, or the person was suspended.
    """
    session, token_id = caller.session, caller.token_id
    if session is not None:
        await _check_session(connection, session)
        if session.person_id is not None:
            return await _rights_of_person(connection, RowSigner(key), session.person_id)
    if token_id is None:
        return caller.rights
    row = await sql.get_usable_token(connection, id=token_id)
    if row is None:
        raise Unauthenticated(
            "token_refused", "Your token is no longer valid.", reason="ended during the request"
        )
    # Each token has one grant, and so has a session of it.
    (held,) = caller.rights.grants
    return Rights([narrowed(held, _grant(row))])


async def _check_session(connection: Connection, session: ConsoleSession) -> None:
    if await sql.find_usable_session(connection, id=session.id) is None:
        raise Unauthenticated(
            "session_refused",
            "Your session has ended. Sign in.",
            reason="session ended during the request",
        )


async def _rights_of_person(connection: Connection, signer: RowSigner, person_id: str) -> Rights:
    person = await find_person(connection, person_id)
    if person is None or not signer.accepts(person):
        return NO_RIGHTS
    if person.suspended_at is not None:
        raise suspended()
    return (await read_book(connection, signer)).rights(person.id, person.groups)


async def _rights_of_people(
    connection: Connection, signer: RowSigner, ids: list[str]
) -> Mapping[str, Rights]:
    book = await read_book(connection, signer)
    rows = sql.list_people(connection, ids=ids, after="", page_size=len(ids))
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
