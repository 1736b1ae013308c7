"""The address of a client: the peer, or the one that a trusted proxy names."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web
from multidict import istr

from app.http.keys import SETTINGS
from app.settings import Network

Address = IPv4Address | IPv6Address

_X_FORWARDED_FOR = istr("X-Forwarded-For")
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_IPV4_BYTES, _IPV6_PREFIX_BYTES = 4, 8
_IPV4_SITE_BITS, _IPV6_SITE_BITS = 24, 48


def client_address(request: web.Request) -> str:
    """Return the client's address; empty when it has none, as over a Unix socket.

    Proxies of TRUSTED_PROXIES append to `X-Forwarded-For`. The client is the last address that is
    not one of them. The client itself may have written anything before it.
    """
    peer = request.remote or ""
    trusted = request.app[SETTINGS].http.trusted_proxies
    if not trusted or not is_within(peer, trusted):
        return peer
    client = peer
    hops = ",".join(request.headers.getall(_X_FORWARDED_FOR, ())).split(",")
    for hop in reversed(hops):
        address = parse_address(_without_port(hop.strip()))
        if address is None:
            break
        client = str(address)
        if not is_within(client, trusted):
            break
    return client


@lru_cache(maxsize=1_024)
def client_prefix(text: str) -> bytes:
    """Return an IPv4 address, or the 64 bits of IPv6 that a client cannot choose."""
    address = parse_address(text)
    if address is None:
        return b""
    return address.packed[: _IPV4_BYTES if address.version == 4 else _IPV6_PREFIX_BYTES]


def client_network(text: str) -> str:
    """Return the network of an address as text: /24 of IPv4 or /48 of IPv6, which name a site."""
    address = parse_address(text)
    if address is None:
        return ""
    length = _IPV4_SITE_BITS if address.version == 4 else _IPV6_SITE_BITS
    return str(ip_network((address, length), strict=False))


def parse_address(text: str) -> Address | None:
    """Return the address; an IPv4 address that is mapped into IPv6 becomes IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_within(text: str, networks: Sequence[Network]) -> bool:
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)


def _without_port(hop: str) -> str:
    """Return the address of a hop. Some proxies add a port, and brackets around IPv6."""
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2]) if match else hop
