"""Addresses of clients, as text and as what is counted by."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from app.settings import Network

Address = IPv4Address | IPv6Address

_IPV4_BITS, _IPV6_BITS = 32, 64


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


def is_within(address: str, networks: Sequence[Network]) -> bool:
    found = parse_address(address)
    return found is not None and any(found in network for network in networks)
