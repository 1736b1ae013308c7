"""Set up a new connection: the codec for jsonb, TCP keepalive, and the owner role."""

import json
import re
import socket
from typing import Any

import msgspec

from app.database.client.primary import AsyncpgConnection
from app.database.role_names import OWNER

_LONG_DIGITS = 17
_LONG_INTEGER = re.compile(rb"\d{%d}" % _LONG_DIGITS)


async def prepare_connection(connection: AsyncpgConnection) -> None:
    """Decode jsonb as Python values, and detect a dead peer within one minute."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode, decoder=_decode
    )
    _keep_alive(connection)


async def prepare_as_owner(connection: AsyncpgConnection) -> None:
    """Do the same, and set the role that owns the tables.

    Without provisioned roles the connected role owns them already.
    """
    await prepare_connection(connection)
    if await connection.fetchval(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = $1", OWNER
    ):
        await connection.execute(f'set role "{OWNER}"')


# Without float_hook msgspec takes 7 µs for a number near the limits of a double.
_decoder = msgspec.json.Decoder(float_hook=float)


def _encode(value: Any) -> bytes:
    # msgspec.Raw is sent as it is. Only it can express a JSON null: None is the null of SQL.
    return b"\x01" + msgspec.json.encode(value)


def _decode(value: bytes) -> Any:
    return decode_json(value[1:])


def decode_json(text: bytes) -> Any:
    """Decode the JSON text of a jsonb."""
    if _LONG_INTEGER.search(text):
        # jsonb prints 1e300 as an integer of 301 digits. Integers beyond 2^53 are refused on input,
        # so a long integer was a double.
        return json.loads(text, parse_int=_integer_or_double)
    return _decoder.decode(text)


def _integer_or_double(text: str) -> int | float:
    return int(text) if len(text.lstrip("-")) < _LONG_DIGITS else float(text)


def _keep_alive(connection: AsyncpgConnection) -> None:
    """Turn on TCP keepalive. asyncpg has no option for it, and `_transport` is private."""
    peer = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if peer is None or peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),
    ):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
