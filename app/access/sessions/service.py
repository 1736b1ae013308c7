"""Begin, list and end sessions, in the caller's transaction.

Afterwards the caller refreshes `TokenDirectory`; other instances follow within a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from app.access.caller import Caller
from app.access.events import LENGTH_MAX, AccessEvent, Origin
from app.access.format import GeneratedToken, generate_secret
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, ConsoleSession, Grant, Principal, Scope
from app.access.permissions import Keys, Rights
from app.access.sessions.directory import IDLE
from app.access.sessions.mac import secret_mac
from app.crypto.derivation import Purpose
from app.database import Connection, sql
from app.errors import NotFound
from app.http.client_address import client_network
from app.settings import Secret

LIFETIME = timedelta(hours=12)
# A further session of the same actor ends its oldest one.
SESSIONS_PER_ACTOR_MAX = 20


@dataclass(frozen=True, kw_only=True)
class SessionView:
    """A session in use, for the list of sessions."""

    id: str
    actor: str
    name: str
    token_id: str | None
    scopes: tuple[Scope, ...]
    environments: tuple[str, ...]
    prefixes: tuple[str, ...]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str
    network: str
    is_own: bool


async def begin(
    connection: Connection,
    log: AccessLog,
    key: Secret,
    principal: Principal,
    *,
    origin: Origin,
    user_agent: str,
    replaces: str | None = None,
) -> GeneratedToken:
    """Store a new session, without its secret, and return its text for the cookie.

    It expires after 12 hours, and earlier with the grant of the principal. `replaces` is the
    session of the same browser, which ends. Raises Unavailable when the access log fails.
    """
    created_at = datetime.now(UTC)
    expires_at = min(filter(None, (created_at + LIFETIME, principal.grant.expires_at)))
    granted = replace(principal, grant=replace(principal.grant, expires_at=expires_at))
    new = generate_secret()
    await sql.delete_old_sessions(connection)
    await sql.insert_session(
        connection,
        id=new.id,
        mac=secret_mac(key, Purpose.SESSIONS, new.text, granted, created_at),
        actor=granted.actor,
        name=granted.name,
        token_id=granted.token_id,
        person_id=granted.person_id,
        scopes=sorted(granted.grant.scopes),
        environments=sorted(granted.grant.environments),
        prefixes=sorted(granted.grant.prefixes),
        created_at=created_at,
        expires_at=expires_at,
        # Browsers may send any bytes, which become surrogates that PostgreSQL refuses.
        user_agent="".join(filter(str.isprintable, user_agent))[:LENGTH_MAX],
        network=client_network(origin.client or ""),
    )
    if replaces is not None:
        await revoke(connection, ids=[replaces])
    await sql.revoke_oldest_sessions(
        connection, actor=granted.actor, sessions_max=SESSIONS_PER_ACTOR_MAX
    )
    await sql.announce_tokens(connection)
    signed_in = msgspec.structs.replace(origin, actor=granted.actor, token_id=granted.token_id)
    await log.record(connection, signed_in.did(AccessEvent.SESSION_CREATED, resource=new.id))
    return new


async def list_visible(
    connection: Connection,
    caller: Caller,
    *,
    session_id: str | None = None,
    actor: str | None = None,
) -> list[SessionView]:
    """Return the caller's sessions, the latest first. An administrator sees those of others too.

    As with tokens, only sessions within the administrator's environments and keys are listed: at
    most 1,000. `session_id` and `actor` select among all of them.
    """
    if actor is None and not caller.rights.has(Scope.ADMIN):
        actor = caller.actor
    rows = sql.list_sessions(
        connection, id=session_id, actor=actor, idle_seconds=IDLE.total_seconds()
    )
    views = [_view(row, caller) async for row in rows]
    return [view for view in views if view.is_own or _is_within(view, caller.rights)]


async def end(
    connection: Connection, log: AccessLog, session_id: str, caller: Caller, *, origin: Origin
) -> None:
    """End a session that is visible to the caller. Raises NotFound for any other."""
    if not await list_visible(connection, caller, session_id=session_id):
        raise NotFound("session_unknown", "There is no such session. It may have ended already.")
    ended = await revoke(connection, ids=[session_id])
    await _record(connection, log, ended, detail="ended from the list", origin=origin)


async def end_own(
    connection: Connection, log: AccessLog, session_id: str, *, origin: Origin
) -> None:
    """End the session of a browser that signs out."""
    ended = await revoke(connection, ids=[session_id])
    await _record(connection, log, ended, detail="signed out", origin=origin)


async def end_everywhere(
    connection: Connection, log: AccessLog, caller: Caller, *, origin: Origin
) -> int:
    """End every session of the caller, in every browser. Return how many there were."""
    ended = await revoke(connection, actor=caller.actor)
    await _record(connection, log, ended, detail="signed out everywhere", origin=origin)
    return len(ended)


async def end_by_provider(
    connection: Connection, log: AccessLog, ids: Sequence[str], *, detail: str, origin: Origin
) -> int:
    """End sessions that the provider of their person has ended. Return how many there were."""
    ended = await revoke(connection, ids=ids)
    await _record(connection, log, ended, detail=detail, origin=origin)
    return len(ended)


async def revoke(
    connection: Connection,
    *,
    ids: Sequence[str] = (),
    actor: str | None = None,
    token_id: str | None = None,
    environment: str | None = None,
) -> list[str]:
    """End the sessions with these IDs, of an actor or of a token. Return their IDs.

    `environment` ends those of one-time links that name it.
    """
    rows = sql.revoke_sessions(
        connection, ids=ids, actor=actor, token_id=token_id, environment=environment
    )
    return [row["id"] async for row in rows]


async def list_usable(connection: Connection) -> list[ConsoleSession]:
    """Return the sessions that are neither revoked nor long expired."""
    rows = [row async for row in sql.list_usable_sessions(connection)]
    # A session with a scope of a newer release cannot be used here.
    return [_session(row) for row in rows if set(row["scopes"]) <= set(Scope)]


async def _record(
    connection: Connection, log: AccessLog, ended: Sequence[str], *, detail: str, origin: Origin
) -> None:
    for session_id in ended:
        access = origin.did(AccessEvent.SESSION_EXPIRED, resource=session_id, detail=detail)
        await log.record(connection, access)
    await sql.announce_tokens(connection)


def _session(row: asyncpg.Record) -> ConsoleSession:
    return ConsoleSession(
        id=row["id"],
        mac=row["mac"],
        actor=row["actor"],
        name=row["name"],
        token_id=row["token_id"],
        person_id=row["person_id"],
        grant=Grant(
            scopes=frozenset(map(Scope, row["scopes"])),
            environments=frozenset(row["environments"]),
            prefixes=frozenset(row["prefixes"]),
            expires_at=row["expires_at"],
        ),
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
    )


def _view(row: asyncpg.Record, caller: Caller) -> SessionView:
    fields = {
        **row,
        "scopes": tuple(scope for scope in Scope if scope in row["scopes"]),
        "environments": tuple(row["environments"]),
        "prefixes": tuple(row["prefixes"]),
    }
    return SessionView(**fields, is_own=row["actor"] == caller.actor)


def _is_within(view: SessionView, rights: Rights) -> bool:
    # The session of a person has none: its rights are those of the grants now.
    environments = view.environments or (EVERY_ENVIRONMENT,)
    keys = Keys.below(view.prefixes)
    return all(rights.keys(Scope.ADMIN, name).includes(keys) for name in environments)
