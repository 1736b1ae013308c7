"""List people, suspend them and restore them. Only an administrator of everything suspends."""

from dataclasses import replace
from datetime import UTC, datetime

from app.access.people.edit import AccessEdit, AccessEventName, check_reason
from app.access.people.grants import remarks
from app.access.people.models import Person
from app.access.people.rows import find_person, person_of
from app.access.people.signatures import RowSigner
from app.access.people.views import PersonPage, PersonView
from app.access.sessions import service as sessions
from app.database import Connection, sql
from app.errors import Conflict, NotFound
from app.settings import Secret


async def list_page(
    connection: Connection,
    key: Secret,
    *,
    search: str | None = None,
    group: str | None = None,
    after: str = "",
    limit: int,
) -> PersonPage:
    """Return people in the order of their names. `search` is a part of a name or e-mail address."""
    rows = sql.list_people_by_name(
        connection, after=after or None, search=search, group_name=group, page_size=limit + 1
    )
    signer = RowSigner(key)
    people = [person_of(row) async for row in rows]
    views = [person_view(person, signer) for person in people[:limit]]
    return PersonPage(items=views, next=views[-1].id if len(people) > limit else None)


async def get(connection: Connection, person_id: str) -> Person:
    """Return one person. Raises NotFound."""
    person = await find_person(connection, person_id)
    if person is None:
        raise unknown()
    return person


async def suspend(edit: AccessEdit, person_id: str, *, reason: str) -> Person:
    """Suspend a person. Suspending again is no error.

    Each request checks the person, so their sessions are refused from now on. The rows stay until
    the person signs out or is restored, so that the next page can say why it is refused.

    Raises NotFound, Invalid, Forbidden, and Conflict for the last administrator.
    """
    async with edit.retaining_an_administrator():
        person = await _lock_genuine(edit, person_id, reason)
        if person.suspended_at is None:
            person = await _set_suspended(edit, person, datetime.now(UTC))
            await edit.record(AccessEventName.PERSON_SUSPENDED, person.id, reason=reason)
    return person


async def restore(edit: AccessEdit, person_id: str, *, reason: str) -> Person:
    """Let a suspended person sign in again. Restoring again is no error. Raises as `suspend`.

    The sessions from before the suspension do not come back.
    """
    await edit.lock()
    person = await _lock_genuine(edit, person_id, reason)
    if person.suspended_at is not None:
        await sessions.revoke(edit.connection, actor=person.actor)
        person = await _set_suspended(edit, person, None)
        await edit.record(AccessEventName.PERSON_RESTORED, person.id, reason=reason)
    return person


def person_view(person: Person, signer: RowSigner) -> PersonView:
    return PersonView(
        id=person.id,
        actor=person.actor,
        name=person.name,
        email=person.email,
        issuer=person.issuer,
        subject=person.subject,
        groups=list(person.groups),
        first_sign_in_at=person.first_seen_at,
        last_sign_in_at=person.last_seen_at,
        claims_at=person.claims_at,
        suspended_at=person.suspended_at,
        remarks=remarks(is_genuine=signer.accepts(person)),
    )


async def _lock_genuine(edit: AccessEdit, person_id: str, reason: str) -> Person:
    """Lock a person to suspend or restore. Raises Forbidden, Invalid, NotFound and Conflict."""
    edit.require_everything()
    check_reason(reason)
    row = await sql.lock_person(edit.connection, id=person_id)
    if row is None:
        raise unknown()
    person = person_of(row)
    if not edit.signer.accepts(person):
        # Its groups may be forged, and would become valid.
        raise Conflict(
            "person_unsigned",
            "The row of this person was changed outside of the service, so it is ignored. An "
            "operator can check and sign it.",
        )
    return person


async def _set_suspended(edit: AccessEdit, person: Person, suspended_at: datetime | None) -> Person:
    changed = edit.signer.signed(replace(person, suspended_at=suspended_at))
    await sql.suspend_person(
        edit.connection, id=changed.id, mac=changed.mac, suspended_at=changed.suspended_at
    )
    return changed


def unknown() -> NotFound:
    """Return the refusal of an ID that no person has."""
    return NotFound(
        "person_unknown",
        "There is no person with this ID. Search the list of people for a name or an address.",
    )
