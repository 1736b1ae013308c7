"""TRUSTED_USER_HEADER and TRUSTED_GROUPS_HEADER: which names and which proxies are safe.

Each host of TRUSTED_PROXIES can sign in as any person, since it can send these headers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Network, ip_network
from typing import Any

from app.settings.parsers import Network

USER, GROUPS = "TRUSTED_USER_HEADER", "TRUSTED_GROUPS_HEADER"
# Without underscores, which some proxies drop. Standard headers of one word have no hyphen.
_NAME = re.compile(r"(?=.{3,64}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)+")
# The beginnings of headers that browsers, proxies, HTTP itself or this service use.
_USED_PREFIXES = (
    *("accept-", "access-control-", "alt-", "authentication-", "cache-", "cdn-", "clear-site-"),
    *("content-", "cross-origin-", "early-", "flagstone-", "http2-", "hx-", "idempotency-", "if-"),
    *("keep-", "last-", "max-", "origin-", "permissions-", "proxy-", "referrer-", "report-"),
    *("reporting-", "repr-", "retry-", "save-data", "sec-", "server-", "set-", "strict-"),
    *("timing-", "transfer-", "upgrade-", "user-agent", "want-", "www-", "x-ratelimit-"),
)
_USED_NAMES = frozenset(
    {"x-api-key", "x-background", "x-correlation-id", "x-real-ip", "x-request-id"}
    | {"x-requested-with", "x-content-type-options", "x-frame-options", "x-powered-by"}
    | {"x-xss-protection"}
    | {f"x-forwarded-{part}" for part in ("client-cert", "for", "host", "port", "prefix", "proto")}
    | {f"x-forwarded-{part}" for part in ("scheme", "server")}
)
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_PRIVATE = (
    *_LOOPBACK,
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")),
    *map(ip_network, ("100.64.0.0/10", "fc00::/7", "fe80::/10")),
)
# One site: a larger range of public addresses belongs to many owners.
_IPV4_PREFIX_MIN, _IPV6_PREFIX_MIN = 24, 64


def header_name(raw: str) -> str:
    """Return the name of a header that nothing else uses."""
    if not _NAME.fullmatch(raw):
        raise ValueError("must be words of letters and digits with hyphens, such as X-User")
    if raw.lower() in _USED_NAMES or raw.lower().startswith(_USED_PREFIXES):
        raise ValueError("must not be a header with another use")
    return raw


def trusted_header_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (variable, rule) for each way in which a stranger could set the headers."""
    user, groups, proxies = values[USER], values[GROUPS], values["TRUSTED_PROXIES"]
    if user is None:
        if groups is not None:
            yield GROUPS, f"must not be set without {USER}"
        return
    if groups is not None and groups.lower() == user.lower():
        yield GROUPS, f"must not be the header of {USER}"
    if proxies is None:
        yield USER, "must not be set without TRUSTED_PROXIES: any client could send it"
    elif not all(map(_is_one_site, proxies)):
        limits = f"/{_IPV4_PREFIX_MIN} for IPv4 and /{_IPV6_PREFIX_MIN} for IPv6"
        rule = f"must have private networks, or public ones of at most {limits}"
        yield "TRUSTED_PROXIES", f"{rule}, when {USER} is set"
    if values["OIDC_ISSUER"] is not None:
        yield USER, "must not be set together with OIDC_ISSUER: each person would be two people"
    if values["RELAY_UPSTREAM"] is not None:
        yield USER, "must not be set together with RELAY_UPSTREAM: a relay has no console"


def trusted_header_warnings(values: Mapping[str, Any]) -> Iterator[str]:
    proxies: Sequence[Network] = values["TRUSTED_PROXIES"] or ()
    if values[USER] is not None and not all(map(_is_narrow, proxies)):
        yield (
            "TRUSTED_PROXIES has a large network: each of its hosts can sign in to the console as "
            f"any person by {USER}"
        )


def _is_one_site(network: Network) -> bool:
    """Return whether the network is private, or public and small."""
    is_private = any(
        # Networks of two versions cannot be compared.
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    )
    return is_private or _is_small(network)


def _is_narrow(network: Network) -> bool:
    return network in _LOOPBACK or _is_small(network)


def _is_small(network: Network) -> bool:
    is_ipv6 = isinstance(network, IPv6Network)
    return network.prefixlen >= (_IPV6_PREFIX_MIN if is_ipv6 else _IPV4_PREFIX_MIN)
