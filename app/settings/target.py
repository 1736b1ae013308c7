"""The address and credentials of a database, for both drivers.

asyncpg and libpq read a URL differently: an unknown key is a server setting for one, and an error
for the other. So this module parses the URL, and each driver gets arguments.
"""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

from app.crypto.secret import Secret

DEFAULT_PORT = 5432

_BROKEN = re.compile("%(?![0-9A-Fa-f]{2})")


class TlsMode(StrEnum):
    """libpq's sslmode without `allow`, which gives no protection."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


@dataclass(frozen=True, kw_only=True)
class Tls:
    mode: TlsMode | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database. A host that starts with a slash is the folder of a Unix socket."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: Secret | None = None
    tls: Tls = field(default_factory=Tls)

    @property
    def is_socket(self) -> bool:
        return all(host.startswith("/") for host, _ in self.hosts)

    @property
    def summary(self) -> str:
        """The parts that may be shown."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.user}@{hosts}/{self.database}"

    def named(self, database: str) -> "Target":
        return replace(self, database=database)

    def as_role(self, user: str, password: Secret | None) -> "Target":
        return replace(self, user=user, password=password)


# Parameters of libpq that are ignored, because settings of this service replace them.
_IGNORED = {"application_name", "connect_timeout", "keepalives", "target_session_attrs"}
_TLS = {"sslmode", "sslrootcert", "sslcert", "sslkey"}


def parse_target(url: str) -> Target:
    """Read `postgresql://user:password@host:port,host:port/database?sslmode=…`.

    Raises ValueError with the rule that the URL breaks, never with a part of it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        raise ValueError("must start with postgresql://")
    if "#" in rest:
        raise ValueError("must not contain '#'; in a password write it as %23")
    location, _, query = rest.partition("?")
    authority, slash, database = location.partition("/")
    if "@" in database:
        raise ValueError("must not contain '/' before the '@'; in a password write it as %2F")
    credentials, _, netloc = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    options = _options(query)
    hosts_option = options.pop("host", "").split(",")
    addresses = (
        [(host, "") for host in hosts_option]
        if any(hosts_option)
        else [_host(p) for p in netloc.split(",")]
    )
    hosts = _hosts(addresses, options.pop("port", ""))
    name = _decoded(database) if slash else ""
    name = options.pop("dbname", "") or name
    user = options.pop("user", "") or _decoded(user)
    secret = options.pop("password", "") or _decoded(password)
    if not user:
        raise ValueError("must name a user")
    if not name:
        raise ValueError("must name a database")
    tls = _tls(options)
    if set(options) - _IGNORED:
        # Do not show the names: they may be part of a password that was not percent-encoded.
        raise ValueError("must have no unknown parameters")
    return Target(
        hosts=hosts, database=name, user=user, password=Secret(secret) if secret else None, tls=tls
    )


def _options(query: str) -> dict[str, str]:
    # parse_qsl would read + as a space, which libpq does not.
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("must have parameters of the form name=value")
    return {_decoded(name): _decoded(value) for name, _, value in pairs}


def _decoded(text: str) -> str:
    if _BROKEN.search(text):
        raise ValueError("must write a percent sign as %25")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if "\0" in decoded:
        raise ValueError("must be UTF-8 without NUL where it is percent-encoded")
    return decoded


def _hosts(addresses: list[tuple[str, str]], ports: str) -> tuple[tuple[str, int], ...]:
    if not all(host for host, _ in addresses):
        raise ValueError("must name a host")
    if not all(host.startswith("/") or _is_name(host) for host, _ in addresses):
        raise ValueError("must have host names of labels of 1 to 63 characters")
    if ports:
        split = ports.split(",")
        if len(split) not in {1, len(addresses)}:
            raise ValueError("must have one port, or one port for each host")
        split = split * len(addresses) if len(split) == 1 else split
        addresses = [(host, port) for (host, _), port in zip(addresses, split, strict=True)]
    return tuple((host, _port(port)) for host, port in addresses)


def _is_name(host: str) -> bool:
    """Return whether the resolver accepts the name. It raises UnicodeError for some names."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _host(part: str) -> tuple[str, str]:
    if part.startswith("["):
        host, bracket, tail = part[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError("must write an IPv6 address as [address]:port")
        return _decoded(host), tail[1:]
    if part.startswith("/"):
        return part, ""
    # The folder of a socket is percent-encoded, so it may contain a colon.
    host, _, port = part.partition(":")
    return _decoded(host), port


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdecimal() and len(text) < 6) or not 1 <= int(text) <= 65535:
        raise ValueError("must have ports from 1 to 65535")
    return int(text)


def _tls(options: dict[str, str]) -> Tls:
    given = {name: value for name in _TLS if (value := options.pop(name, ""))}
    mode = given.pop("sslmode", None)
    if mode is not None and mode not in set(TlsMode):
        raise ValueError(f"must have one of these as sslmode: {', '.join(TlsMode)}")
    paths = {name: Path(value) for name, value in given.items()}
    return Tls(
        mode=TlsMode(mode) if mode else None,
        ca=paths.get("sslrootcert"),
        certificate=paths.get("sslcert"),
        key=paths.get("sslkey"),
    )
