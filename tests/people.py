"""People for tests: sign one in, and give rights."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.access.events import Origin
from app.access.format import generate_secret
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import EVERY_ENVIRONMENT
from app.access.people.models import Person, RoleGrant
from app.access.people.rows import insert_grant
from app.access.people.sign_in import PersonIdentity, sign_in
from app.access.people.signatures import RowSigner
from app.access.sessions import service as sessions
from app.database import Connection, sql
from app.http.keys import DATABASE
from tests.conftest import Service

ISSUER = "https://login.example.com"
ORIGIN = Origin(actor="test", client="192.0.2.77")


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A person with a session. `text` is the value of its cookie."""

    person: Person
    text: str


async def sign_in_person(
    service: Service, subject: str = "asha", *groups: str, name: str = "", issuer: str = ISSUER
) -> SignedIn:
    """Sign in as the callback of a provider does."""
    log, key = service.app[ACCESS_LOG], service.app[TOKENS].key
    identity = PersonIdentity(
        issuer=issuer,
        subject=subject,
        name=name or subject.title(),
        email=f"{subject}@example.com",
        groups=frozenset(groups),
    )

    async def work(connection: Connection) -> SignedIn:
        person = await sign_in(connection, log, key, identity, origin=ORIGIN)
        new = await sessions.begin(
            *(connection, log, key, person.principal), origin=ORIGIN, user_agent="test"
        )
        return SignedIn(person=person, text=new.text)

    signed_in = await service.app[DATABASE].transact(work)
    await service.app[TOKENS].refresh()
    return signed_in


async def give(
    service: Service,
    holder: Person | str,
    role: str,
    *,
    environments: tuple[str, ...] = (EVERY_ENVIRONMENT,),
    prefix: str = "",
) -> RoleGrant:
    """Grant a role to a person or a group."""
    grant = RoleGrant(
        id=generate_secret().id,
        person_id=None if isinstance(holder, str) else holder.id,
        group_name=holder if isinstance(holder, str) else None,
        role=role,
        environments=frozenset(environments),
        prefix=prefix,
        reason="because",
        created_by="test",
        created_at=datetime.now(UTC),
    )
    signed = RowSigner(service.app[TOKENS].key).signed(grant)
    await service.app[DATABASE].transact(lambda c: insert_grant(c, signed))
    await service.app[TOKENS].refresh()
    return signed


async def store_person(service: Service, person: Person) -> None:
    """Store a person who has signed in before."""
    signed = RowSigner(service.app[TOKENS].key).signed(person)
    await service.app[DATABASE].transact(
        lambda c: sql.insert_person(
            c,
            id=signed.id,
            mac=signed.mac,
            issuer=signed.issuer,
            subject=signed.subject,
            name=signed.name,
            email=signed.email,
            groups=list(signed.groups),
            claims_at=signed.claims_at,
        )
    )
    await service.app[TOKENS].refresh()
