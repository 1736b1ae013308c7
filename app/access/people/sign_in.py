"""Sign people in, and store what the provider says of them, in the caller's transaction.

Afterwards the caller refreshes `TokenDirectory`; other instances follow within a second.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from app.access.events import AccessEvent, Decision, Origin
from app.access.format import generate_secret
from app.access.log import AccessLog
from app.access.people.models import (
    GROUPS_MAX,
    IDENTIFIER_MAX,
    SUSPENDED,
    SUSPENDED_WORDS,
    Person,
)
from app.access.people.rows import person_of
from app.access.people.signatures import RowSigner
from app.database import Connection, sql
from app.errors import Forbidden, invalid
from app.settings import Secret

# The limits of characters in the constraints of the table people.
_NAME_MAX = 200
_EMAIL_MAX = 254


@dataclass(frozen=True, kw_only=True)
class PersonIdentity:
    """What a provider or a proxy says about a person. The name may be empty."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    groups: frozenset[str] = frozenset()


async def sign_in(
    connection: Connection, log: AccessLog, key: Secret, identity: PersonIdentity, *, origin: Origin
) -> Person:
    """Store a person who signs in, with these claims, and return them.

    Raises Invalid for claims that cannot be stored. Raises Forbidden for a suspended person, and
    for one whose row was changed outside the service.
    """
    signer, now = RowSigner(key), datetime.now(UTC)
    new = signer.signed(_new_person(identity, now))
    await sql.insert_person(
        connection,
        **_claims(new),
        issuer=new.issuer,
        subject=new.subject,
    )
    stored = await _lock(connection, log, signer, new, origin=origin)
    person = _with_claims(stored, new)
    person = signer.signed(replace(person, last_seen_at=now))
    by_person = msgspec.structs.replace(origin, actor=stored.actor)
    if stored.id == new.id:
        await log.record(connection, by_person.did(AccessEvent.PERSON_CREATED, resource=person.id))
        await sql.announce_tokens(connection)
    else:
        await _update(connection, log, stored, person, origin=by_person)
    return person


async def renew_claims(
    connection: Connection,
    log: AccessLog,
    key: Secret,
    identity: PersonIdentity,
    *,
    origin: Origin,
    asked_after: datetime | None = None,
) -> bool:
    """Store the claims of a person who has signed in before. Return whether they were stored.

    `asked_after` is the `claims_at` that was stored when the provider was asked. If other claims
    were stored since, it is not known which are newer, so these are dropped. The caller asks again.

    Raises as `sign_in`.
    """
    signer = RowSigner(key)
    new = _new_person(identity, datetime.now(UTC))
    stored = await _lock(connection, log, signer, new, origin=origin)
    if asked_after is not None and stored.claims_at != asked_after:
        return False
    person = signer.signed(_with_claims(stored, new))
    by_person = msgspec.structs.replace(origin, actor=stored.actor)
    await _update(connection, log, stored, person, origin=by_person)
    return True


async def _lock(
    connection: Connection, log: AccessLog, signer: RowSigner, new: Person, *, origin: Origin
) -> Person:
    """Lock the row of a person who may sign in, and return it. Raises Forbidden."""
    row = await sql.lock_identity(connection, issuer=new.issuer, subject=new.subject)
    if row is None:
        # The person of a session has another subject now: the row was changed by hand.
        raise _unsigned()
    stored = person_of(row)
    _check(log, signer, stored, msgspec.structs.replace(origin, actor=stored.actor))
    return stored


async def _update(
    connection: Connection, log: AccessLog, stored: Person, person: Person, *, origin: Origin
) -> None:
    await sql.update_person(connection, **_claims(person), last_seen_at=person.last_seen_at)
    if detail := _difference(stored, person):
        changed = origin.did(AccessEvent.PERSON_CHANGED, resource=person.id, detail=detail)
        await log.record(connection, changed)
    await sql.announce_tokens(connection)


def _with_claims(stored: Person, new: Person) -> Person:
    return replace(
        stored, name=new.name, email=new.email, groups=new.groups, claims_at=new.claims_at
    )


def _new_person(identity: PersonIdentity, now: datetime) -> Person:
    """Return a person with a new ID. Raises Invalid, naming the field."""
    for field, text in (("issuer", identity.issuer), ("subject", identity.subject)):
        if not _is_text(text, IDENTIFIER_MAX):
            raise invalid(field, f"must be 1 to {IDENTIFIER_MAX} printable characters")
    if len(identity.groups) > GROUPS_MAX:
        raise invalid("groups", f"must have at most {GROUPS_MAX} groups")
    if not all(_is_text(group, IDENTIFIER_MAX) for group in identity.groups):
        raise invalid("groups", f"must each have 1 to {IDENTIFIER_MAX} printable characters")
    email = identity.email if _is_text(identity.email, _EMAIL_MAX) else ""
    return Person(
        id=generate_secret().id,
        issuer=identity.issuer,
        subject=identity.subject,
        # People choose their names, and a name is no reason to refuse a person.
        name=_display_name(identity.name) or email[:_NAME_MAX] or identity.subject[:_NAME_MAX],
        email=email,
        groups=tuple(sorted(identity.groups)),
        first_seen_at=now,
        last_seen_at=now,
        claims_at=now,
        suspended_at=None,
    )


def _check(log: AccessLog, signer: RowSigner, stored: Person, by_person: Origin) -> None:
    """Check that a person may sign in. Raises Forbidden."""
    if not signer.accepts(stored):
        refusal = _unsigned()
    elif stored.suspended_at is not None:
        refusal = Forbidden(SUSPENDED, SUSPENDED_WORDS)
    else:
        return
    failed = by_person.did(
        AccessEvent.LOGIN_FAIL, decision=Decision.REFUSED, resource=stored.id, detail=refusal.code
    )
    # Not in the transaction, which the refusal rolls back.
    log.enqueue(failed)
    raise refusal


def _unsigned() -> Forbidden:
    return Forbidden(
        "person_unsigned",
        "Your account was changed outside of this service. An operator must check it.",
    )


def _difference(before: Person, after: Person) -> str:
    """Return which groups a person has gained and lost, for the access log."""
    had, has = {*before.groups}, {*after.groups}
    gained = [f"+{group}" for group in after.groups if group not in had]
    lost = [f"-{group}" for group in before.groups if group not in has]
    return f"groups {' '.join(lost + gained)}" if lost or gained else ""


def _claims(person: Person) -> dict[str, object]:
    return {
        "id": person.id,
        "mac": person.mac,
        "name": person.name,
        "email": person.email,
        "groups": list(person.groups),
        "claims_at": person.claims_at,
    }


def _display_name(text: str) -> str:
    return "".join(filter(str.isprintable, text)).strip()[:_NAME_MAX]


def _is_text(text: str, length_max: int) -> bool:
    return 0 < len(text) <= length_max and text.isprintable()
