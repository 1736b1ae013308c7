"""Where a request comes from: the peer, or what a proxy that we trust says of it."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web
from multidict import istr

from app.http.keys import SETTINGS
from app.settings import Network

Address = IPv4Address | IPv6Address

_X_FORWARDED_FOR = istr("X-Forwarded-For")
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_IPV4_BITS, _IPV6_BITS = 32, 64


def client_address(request: web.Request) -> str:
    """Return the client's address; empty when it has none, as over a Unix socket.

    `X-Forwarded-For` counts as far as proxies of TRUSTED_PROXIES have written it: from its end,
    the first address that is not one of them. What stands before that anybody may have written.
    """
    peer = request.remote or ""
    trusted = request.app[SETTINGS].http.trusted_proxies
    if not trusted or not _is_within(peer, trusted):
        return peer
    client = peer
    hops = ",".join(request.headers.getall(_X_FORWARDED_FOR, ())).split(",")
    for hop in reversed(hops):
        found = parse_address(_without_port(hop.strip()))
        if found is None:
            break
        client = str(found)
        if not _is_within(client, trusted):
            break
    return client


def client_prefix(address: str) -> bytes:
    """Return what one client can hardly leave: an address of IPv4, the first 64 bits of IPv6."""
    found = parse_address(address)
    if found is None:
        return b""
    return found.packed[: (_IPV4_BITS if found.version == 4 else _IPV6_BITS) // 8]


def parse_address(text: str) -> Address | None:
    """Return the address, one of IPv4 also where it is written as one of IPv6."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _without_port(hop: str) -> str:
    """Return the address of a hop; some proxies write its port too, with brackets if it is IPv6."""
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2]) if match else hop


def _is_within(address: str, networks: Sequence[Network]) -> bool:
    found = parse_address(address)
    return found is not None and any(found in network for network in networks)
