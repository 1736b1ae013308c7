"""Where a database is and how to get in: one description that feeds both drivers.

asyncpg and libpq read the same URL differently (an unknown key is a server setting to one and an
error to the other), so a URL is parsed here once, and each driver gets arguments instead.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT = 5432


class TlsMode(StrEnum):
    """libpq's sslmode, less `allow`, which nobody should want."""

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
    password: str | None = field(default=None, repr=False)
    tls: Tls = field(default_factory=Tls)

    @property
    def is_socket(self) -> bool:
        return all(host.startswith("/") for host, _ in self.hosts)

    @property
    def summary(self) -> str:
        """All of it that may be shown."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.user}@{hosts}/{self.database}"

    def named(self, database: str) -> "Target":
        """Return the same server and user, with another database."""
        return replace(self, database=database)

    def as_role(self, user: str, password: str) -> "Target":
        """Return the same server and database, for another role."""
        return replace(self, user=user, password=password)


# Parameters of libpq that change nothing here: their work is done by our own settings.
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
    hosts = _hosts(options.pop("host", "") or netloc, options.pop("port", ""))
    name = unquote(database) if slash else ""
    name = options.pop("dbname", "") or name
    user = options.pop("user", "") or unquote(user)
    secret = options.pop("password", "") or unquote(password)
    if not user:
        raise ValueError("must name a user")
    if not name:
        raise ValueError("must name a database")
    tls = _tls(options)
    if unknown := sorted(set(options) - _IGNORED):
        raise ValueError(f"has parameters that are not understood: {', '.join(unknown)}")
    return Target(hosts=hosts, database=name, user=user, password=secret or None, tls=tls)


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("has parameters that are not of the form name=value") from None
    return dict(pairs)


def _hosts(text: str, ports: str) -> tuple[tuple[str, int], ...]:
    if not text:
        raise ValueError("must name a host")
    split_ports = ports.split(",") if ports else []
    hosts = []
    for position, part in enumerate(text.split(",")):
        host, port = _host(part)
        if split_ports:
            port = split_ports[min(position, len(split_ports) - 1)]
        if not host:
            raise ValueError("must name a host")
        hosts.append((host, _port(port)))
    return tuple(hosts)


def _host(part: str) -> tuple[str, str]:
    if part.startswith("["):
        host, bracket, tail = part[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError("must write an IPv6 address as [address]:port")
        return host, tail[1:]
    if part.startswith("/"):
        return part, ""
    # The folder of a socket is percent-encoded here, so it may hold a colon of its own.
    host, _, port = part.partition(":")
    return unquote(host), port


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError("must have ports from 1 to 65535")
    return int(text)


def _tls(options: dict[str, str]) -> Tls:
    given = {name: options.pop(name) for name in _TLS if options.get(name)}
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
