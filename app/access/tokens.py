"""Making, listing and revoking tokens, and the MAC that binds a row to what it may do."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.access.events import Event, Origin
from app.access.format import make_token
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope, Token
from app.database import Connection, sql
from app.errors import NotFound, invalid
from app.settings import Secret


@dataclass(frozen=True, kw_only=True)
class TokenSummary:
    """A token as an operator sees it listed."""

    id: str
    name: str
    scopes: list[str]
    environments: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def mac(key: Secret, text: str, grant: Grant) -> bytes:
    """Return the HMAC-SHA-256 of a token and of all that it may do.

    The key is not in the database: whoever can write rows can neither make a token nor promote one.
    """
    expiry = grant.expires_at.astimezone(UTC).isoformat() if grant.expires_at else "never"
    parts = (text, ",".join(sorted(grant.scopes)), ",".join(sorted(grant.environments)), expiry)
    return hmac.digest(key.reveal().encode(), "\n".join(parts).encode(), hashlib.sha256)


async def create(
    connection: Connection, log: AccessLog, key: Secret, *, name: str, grant: Grant, origin: Origin
) -> str:
    """Store a new token and return its text, which exists nowhere else.

    Raises Invalid for a name, a scope list or an environment that does not fit.
    """
    if not name or len(name) > 200 or not name.isprintable():
        raise invalid("name", "must be 1 to 200 printable characters")
    if not grant.scopes:
        raise invalid("scopes", "must not be empty")
    await _check_environments(connection, grant.environments)
    token_id, text = make_token(is_admin=Scope.ADMIN in grant.scopes)
    await sql.insert_token(
        connection,
        id=token_id,
        name=name,
        mac=mac(key, text, grant),
        scopes=sorted(grant.scopes),
        environments=sorted(grant.environments),
        created_by=origin.actor,
        expires_at=grant.expires_at,
    )
    await log.record(connection, origin.did(Event.TOKEN_CREATED, resource=token_id))
    return text


async def list_all(connection: Connection) -> list[TokenSummary]:
    """Return every token that ever was, the oldest first."""
    return [TokenSummary(**row) async for row in sql.list_tokens(connection)]


async def list_usable(connection: Connection) -> list[Token]:
    """Return the tokens that are neither revoked nor long expired."""
    rows = [row async for row in sql.list_usable_tokens(connection)]
    # A scope that only a newer release knows makes its token unusable here, and nothing worse.
    return [_token(row) for row in rows if set(row["scopes"]) <= set(Scope)]


async def revoke(connection: Connection, log: AccessLog, token_id: str, *, origin: Origin) -> None:
    """Revoke a token for ever. Raises NotFound."""
    if await sql.revoke_token(connection, id=token_id) is None:
        raise NotFound("token_unknown", "There is no such token.")
    await log.record(connection, origin.did(Event.TOKEN_REVOKED, resource=token_id))


async def _check_environments(connection: Connection, names: frozenset[str]) -> None:
    if not names:
        raise invalid("environments", "must not be empty")
    if EVERY_ENVIRONMENT in names and len(names) > 1:
        raise invalid("environments", "must be * alone, or names")
    known = [row["name"] async for row in sql.list_environments(connection)]
    if names - {EVERY_ENVIRONMENT} - set(known):
        raise invalid("environments", f"must be * or among {', '.join(known)}")


def _token(row: asyncpg.Record) -> Token:
    fields: dict[str, Any] = dict(row)
    grant = Grant(
        scopes=frozenset(map(Scope, fields.pop("scopes"))),
        environments=frozenset(fields.pop("environments")),
        expires_at=fields.pop("expires_at"),
    )
    return Token(grant=grant, **fields)
