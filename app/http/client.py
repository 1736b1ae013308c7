"""Where a request comes from: the peer, or what a proxy that we trust says of it."""

import re

from aiohttp import web
from multidict import istr

from app.http.addresses import is_within, parse_address
from app.http.keys import SETTINGS

_X_FORWARDED_FOR = istr("X-Forwarded-For")
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def client_address(request: web.Request) -> str:
    """Return the client's address; empty when it has none, as over a Unix socket.

    `X-Forwarded-For` counts as far as proxies of TRUSTED_PROXIES have written it: from its end,
    the first address that is not one of them. What stands before that anybody may have written.
    """
    peer = request.remote or ""
    trusted = request.app[SETTINGS].http.trusted_proxies
    if not trusted or not is_within(peer, trusted):
        return peer
    client = peer
    hops = ",".join(request.headers.getall(_X_FORWARDED_FOR, ())).split(",")
    for hop in reversed(hops):
        found = parse_address(_without_port(hop.strip()))
        if found is None:
            break
        client = str(found)
        if not is_within(client, trusted):
            break
    return client


def _without_port(hop: str) -> str:
    """Return the address of a hop; some proxies write its port too, with brackets if it is IPv6."""
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2]) if match else hop
