"""The codes of one-time links. A code is valid for 10 minutes, and begins one session.

The secret of a code is derived from its ID with TOKEN_KEY. So a flood of forged codes is refused
without the database.

A link can be made with access to the database and TOKEN_KEY alone, so an operator can sign in when
every token is lost.
"""

import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.access.events import AccessEvent, Origin
from app.access.format import SECRET_LENGTH, GeneratedToken, generate_secret, secret_id
from app.access.log import AccessLog
from app.access.models import Grant, Principal, Scope
from app.access.sessions.mac import secret_mac
from app.crypto.derivation import Purpose, derive
from app.database import Connection, sql
from app.errors import Unauthenticated
from app.settings import Secret

CODE_LIFETIME = timedelta(minutes=10)


async def create(
    connection: Connection, log: AccessLog, key: Secret, principal: Principal, *, origin: Origin
) -> GeneratedToken:
    """Store a new code, without its secret. The session that it begins has this principal."""
    created_at = datetime.now(UTC)
    expires_at = created_at + CODE_LIFETIME
    limited = replace(principal, grant=replace(principal.grant, expires_at=expires_at))
    code_id = generate_secret().id
    new = GeneratedToken(code_id, f"{code_id}_{_secret(key, code_id)}")
    await sql.delete_sign_in_codes(connection, environment=None)
    await sql.insert_sign_in_code(
        connection,
        id=new.id,
        mac=secret_mac(key, Purpose.SIGN_IN_CODES, new.text, limited, created_at),
        actor=principal.actor,
        name=principal.name,
        scopes=sorted(principal.grant.scopes),
        environments=sorted(principal.grant.environments),
        prefixes=sorted(principal.grant.prefixes),
        created_at=created_at,
        expires_at=expires_at,
    )
    await log.record(connection, origin.did(AccessEvent.LINK_CREATED, resource=new.id))
    return new


def check(key: Secret, text: str) -> str:
    """Return the ID of a code that this service made. Raises Unauthenticated."""
    code_id = secret_id(text)
    if code_id is None:
        raise _refused("code malformed")
    if not hmac.compare_digest(text, f"{code_id}_{_secret(key, code_id)}"):
        raise _refused("code wrong")
    return code_id


async def use(connection: Connection, key: Secret, text: str) -> Principal:
    """Use a code, and return who it signs in. A code works once, on all instances together.

    Begin the session in the same transaction. Raises Unauthenticated for a code that is forged,
    unknown, used or expired, or whose row was changed by hand.
    """
    code_id = check(key, text)
    row = await sql.use_sign_in_code(connection, id=code_id)
    if row is None:
        raise _refused("code unknown, used or expired")
    grant = Grant(
        scopes=frozenset(row["scopes"]),
        environments=frozenset(row["environments"]),
        prefixes=frozenset(row["prefixes"]),
        expires_at=row["expires_at"],
    )
    principal = Principal(actor=row["actor"], name=row["name"], grant=grant)
    expected = secret_mac(key, Purpose.SIGN_IN_CODES, text, principal, row["created_at"])
    if not hmac.compare_digest(expected, row["mac"]):
        raise _refused("code changed in the database")
    scopes = frozenset(map(Scope, grant.scopes))
    return replace(principal, grant=replace(grant, scopes=scopes, expires_at=None))


def _secret(key: Secret, code_id: str) -> str:
    derived = hmac.digest(derive(key, Purpose.SIGN_IN_CODES), code_id.encode(), "sha256")
    return derived.hex()[:SECRET_LENGTH]


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(
        "code_refused",
        "This link was used before, or is older than 10 minutes. Make a new one.",
        reason=reason,
    )
