"""Create, list, rotate and revoke tokens: only those within the rights of the author."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from app.access import expiry
from app.access.actors import actor_names
from app.access.delegation import check_within, reaches
from app.access.events import AccessEvent
from app.access.format import GeneratedToken, generate_token
from app.access.mac import grant_mac, lapsed, mac, relay_key, retired
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope, Token
from app.access.people.edit import AccessEdit
from app.access.permissions import Keys, Rights
from app.access.sessions import service as sessions
from app.access.token_views import NAME_MAX, TokenPage, TokenView
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Conflict, NotFound, invalid
from app.names import prefixes_rule

AnyToken = TypeVar("AnyToken", bound=Token)


@dataclass(frozen=True, kw_only=True)
class LockedToken(Token):
    """A token whose row is locked until the transaction ends."""

    grant_mac: bytes | None
    created_at: datetime
    revoked_at: datetime | None
    replaced_by: str | None
    now: datetime


async def create(edit: AccessEdit, *, name: str, grant: Grant) -> GeneratedToken:
    """Store a new token, without its text. Raises Invalid and Forbidden, naming the field."""
    # Before the answer names environments.
    check_within(edit.rights, grant)
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise invalid("name", f"must be 1 to {NAME_MAX} printable characters")
    if not grant.scopes:
        raise invalid("scopes", "must not be empty")
    if Scope.RELAY in grant.scopes and not grant.has_all_keys:
        raise invalid("prefixes", "must not be given for the scope relay: a relay needs all keys")
    await check_environments(edit.connection, grant.environments)
    await edit.lock()
    check_within(edit.rights, grant)
    new = await _insert(edit, name=name, grant=grant)
    await edit.log.record(
        edit.connection, edit.origin.did(AccessEvent.TOKEN_CREATED, resource=new.id)
    )
    return new


def read_prefixes(prefixes: Sequence[str]) -> frozenset[str]:
    """Return the prefixes of a new token, without those that others imply. Raises Invalid."""
    if not prefixes:
        raise invalid("prefixes", "must not be empty; an empty prefix is for all keys")
    if rule := prefixes_rule(prefixes):
        raise invalid("prefixes", rule)
    return frozenset(Keys.below(prefixes).prefixes)


async def rotate(edit: AccessEdit, token_id: str, *, grace_seconds: int) -> GeneratedToken:
    """Replace a token by one with the same name and grant. The old one stays valid for the grace.

    Raises Conflict when the old token was replaced before, has expired, was revoked, or was changed
    by hand. Raises NotFound as `find`, Forbidden for its scopes, and Invalid for the grace.
    """
    connection, key = edit.connection, edit.key
    old = await _lock(edit, token_id)
    check_within(edit.rights, old.reach)
    if not 0 <= grace_seconds <= expiry.GRACE_SECONDS_MAX:
        raise invalid("grace_seconds", f"must be from 0 to {expiry.GRACE_SECONDS_MAX}")
    if old.replaced_by is not None:
        raise Conflict("token_replaced", f"The token was already replaced by {old.replaced_by}.")
    expires_at = old.grant.expires_at
    if old.revoked_at is not None or (expires_at is not None and expires_at <= old.now):
        raise Conflict("token_over", "The token is revoked or has expired. Create a new token.")
    expected = grant_mac(key, old.id, old.grant, old.created_at)
    for name in old.lapsed:
        expected = lapsed(key, expected, name)
    if old.grant_mac is None or not hmac.compare_digest(expected, old.grant_mac):
        raise Conflict(
            "token_not_ours",
            "The grant of this token was changed outside the service. Create a new token.",
        )
    grant = Grant(
        scopes=old.grant.scopes,
        environments=old.reach.environments,
        prefixes=old.grant.prefixes,
        expires_at=expiry.expiry_of_successor(old.grant, old.created_at, old.now),
    )
    new = await _insert(edit, name=old.name, grant=grant)
    retires_at = old.now + timedelta(seconds=grace_seconds)
    await sql.retire_token(
        connection,
        id=old.id,
        mac=retired(key, old.mac, retires_at),
        relay_mac=old.relay_mac and retired(relay_key(key), old.relay_mac, retires_at),
        retires_at=retires_at,
        replaced_by=new.id,
    )
    await edit.log.record(
        connection,
        edit.origin.did(AccessEvent.TOKEN_ROTATED, resource=old.id, detail=f"by {new.id}"),
    )
    return new


async def revoke(edit: AccessEdit, token_id: str) -> None:
    """Revoke a token permanently, and end its sessions. Revoking it again is no error.

    Raises NotFound as `find`.
    """
    await edit.lock()
    await find(edit.connection, edit.rights, token_id)
    await _revoke(edit, token_id)


async def lapse(edit: AccessEdit, environment: str) -> None:
    """Remove a deleted environment from every token. Revoke the tokens that have no other one.

    End the sessions and codes of one-time links that name it.
    A later environment of the same name is a different one, so no old token may reach it.
    The caller has locked.
    """
    connection, key = edit.connection, edit.key
    rows = [row async for row in sql.lock_tokens_of(connection, environment=environment)]
    for row in rows:
        if row["is_last"]:
            await _revoke(edit, row["id"])
    remaining = [row for row in rows if not row["is_last"]]
    grant_macs = [row["grant_mac"] for row in remaining]
    relay_macs = [row["relay_mac"] for row in remaining]
    key_of_relays = relay_key(key)
    await sql.lapse_tokens(
        connection,
        environment=environment,
        ids=[row["id"] for row in remaining],
        macs=[lapsed(key, row["mac"], environment) for row in remaining],
        grant_macs=[value and lapsed(key, value, environment) for value in grant_macs],
        relay_macs=[value and lapsed(key_of_relays, value, environment) for value in relay_macs],
    )
    await sessions.revoke(connection, environment=environment)
    await sql.delete_sign_in_codes(connection, environment=environment)
    await sql.announce_tokens(connection)


async def _revoke(edit: AccessEdit, token_id: str) -> None:
    await sql.revoke_tokens(edit.connection, ids=[token_id])
    # Each request checks the token too. Without a session, clearing revoked_at by hand gives none.
    await sessions.revoke(edit.connection, token_id=token_id)
    await sql.announce_tokens(edit.connection)
    await edit.log.record(
        edit.connection, edit.origin.did(AccessEvent.TOKEN_REVOKED, resource=token_id)
    )


async def _lock(edit: AccessEdit, token_id: str) -> LockedToken:
    """Lock a token and its environments, whose deletion would miss a successor.

    Raises NotFound as `find`.
    """
    connection = edit.connection
    named = (await find(connection, edit.rights, token_id)).environments
    _ = [row async for row in sql.hold_environments(connection, names=named)]
    await edit.lock()
    row = await sql.lock_token(connection, id=token_id)
    token = None if row is None else _token(LockedToken, row, id=token_id)
    # The author may have lost rights while this change waited.
    if token is None or not reaches(edit.rights, token.reach.environments, token.reach.prefixes):
        raise _unknown()
    return token


async def find(connection: Connection, own: Rights, token_id: str) -> TokenView:
    """Return a token whose keys the caller administers.

    Raises NotFound for any other, so that an administrator cannot ask which IDs exist.
    """
    token = await get(connection, token_id)
    if not reaches(own, token.environments, token.prefixes):
        raise _unknown()
    return token


async def get(connection: Connection, token_id: str) -> TokenView:
    """Return one token. Raises NotFound."""
    rows = sql.list_tokens(
        connection,
        id=token_id,
        after_id="",
        held_environments=None,
        held_prefixes=None,
        page_size=1,
    )
    if views := await _views(connection, [row async for row in rows]):
        return views[0]
    raise _unknown()


async def list_page(connection: Connection, own: Rights, *, after: str, limit: int) -> TokenPage:
    """Return the tokens, valid or not, that the caller administers: see `reaches`."""
    has_all, held = own.covers_all(Scope.ADMIN, EVERY_ENVIRONMENT), own.prefixes(Scope.ADMIN)
    rows = sql.list_tokens(
        connection,
        id=None,
        after_id=after,
        held_environments=None if has_all else [name for name, _ in held],
        held_prefixes=[prefix for _, prefix in held],
        page_size=limit + 1,
    )
    views = await _views(connection, [row async for row in rows])
    return TokenPage(items=views[:limit], next=views[limit - 1].id if len(views) > limit else None)


async def list_usable(connection: Connection) -> list[Token]:
    """Return the tokens that are neither revoked nor long expired."""
    rows = [row async for row in sql.list_usable_tokens(connection)]
    # A token with a scope of a newer release cannot be used here.
    return [_token(Token, row) for row in rows if set(row["scopes"]) <= set(Scope)]


async def _insert(edit: AccessEdit, *, name: str, grant: Grant) -> GeneratedToken:
    connection, key = edit.connection, edit.key
    new = generate_token(is_admin=Scope.ADMIN in grant.scopes)
    # By the clock that the expiry was computed from. The MAC needs it before the insert.
    created_at = datetime.now(UTC)
    await sql.insert_token(
        connection,
        id=new.id,
        name=name,
        mac=mac(key, new.text, grant),
        grant_mac=grant_mac(key, new.id, grant, created_at),
        relay_mac=mac(relay_key(key), new.text, grant),
        scopes=sorted(grant.scopes),
        environments=sorted(grant.environments),
        prefixes=sorted(grant.prefixes),
        created_by=edit.origin.actor,
        created_at=created_at,
        expires_at=grant.expires_at,
    )
    await sql.announce_tokens(connection)
    return new


async def check_environments(connection: Connection, names: frozenset[str]) -> None:
    """Check that a grant names existing environments, or all. Raises Invalid."""
    if not names:
        raise invalid("environments", "must not be empty")
    if EVERY_ENVIRONMENT in names and len(names) > 1:
        raise invalid("environments", "must be * alone, or names")
    # Lock the environments. A concurrent deletion either sees the new token, or is visible here.
    locked = sql.hold_environments(connection, names=sorted(names))
    missing = names - {EVERY_ENVIRONMENT} - {row["name"] async for row in locked}
    if missing:
        known = [environment.name for environment in await environments.list_all(connection)]
        raise invalid("environments", f"must be * or among {', '.join(known)}")


def _token(kind: type[AnyToken], row: asyncpg.Record, **others: Any) -> AnyToken:
    fields: dict[str, Any] = {**row, **others}
    grant = Grant(
        scopes=frozenset(map(Scope, fields.pop("scopes"))),
        environments=frozenset(fields.pop("environments")),
        prefixes=frozenset(fields.pop("prefixes")),
        expires_at=fields.pop("expires_at"),
    )
    return kind(grant=grant, lapsed=tuple(fields.pop("lapsed")), **fields)


async def _views(connection: Connection, rows: Sequence[asyncpg.Record]) -> list[TokenView]:
    names = await actor_names(connection, [row["created_by"] for row in rows])
    return [_view(row, names[row["created_by"]]) for row in rows]


def _view(row: asyncpg.Record, created_by_name: str) -> TokenView:
    remarks = expiry.remarks(row["expires_at"], is_replaced=row["replaced_by"] is not None)
    return TokenView(
        **row, created_by_name=created_by_name, remarks=[] if row["revoked_at"] else remarks
    )


def _unknown() -> NotFound:
    return NotFound("token_unknown", "There is no such token.")
