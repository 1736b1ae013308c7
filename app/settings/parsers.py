"""Parsers of environment variables.

A parser raises ValueError with the rule only. Logs must not show the value, which may be a password
in the wrong variable.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from app.crypto.sealed import RECIPIENTS_MAX, SealedError, parse_recipient
from app.crypto.secret import Secret

Network = IPv4Network | IPv6Network
Choice = TypeVar("Choice", bound=StrEnum)

EVERY_ADDRESS = "*"
# The address of a provider's document, below its issuer (OpenID Connect Discovery 1.0, section 4).
DISCOVERY_PATH = "/.well-known/openid-configuration"
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\.?$)({_LABEL}\.)*(?=[^.]*[A-Za-z_]){_LABEL}\.?")
_SOCKET_BYTES_MAX = 107
_TOKEN = re.compile(r"[0-9A-Za-z_]{32,200}")
_VISIBLE = re.compile(r"[ -~]+")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def path(raw: str) -> Path:
    try:
        return Path(raw).expanduser()
    except RuntimeError:
        raise ValueError("must not begin with the home of an unknown account") from None


def socket_path(raw: str) -> Path:
    """Return the path of a Unix socket. Linux allows 107 bytes."""
    socket = path(raw).absolute()
    if len(os.fsencode(socket)) > _SOCKET_BYTES_MAX:
        raise ValueError(f"must have an absolute path of at most {_SOCKET_BYTES_MAX} bytes")
    return socket


def web_url(raw: str) -> str:
    """Return an http or https URL without the slash at its end."""
    parts = _split(raw)
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return raw.rstrip("/")


def issuer(raw: str) -> str:
    """Return the URL of an OpenID Connect provider as it was written.

    The tokens of the provider repeat it, with or without a slash at its end.
    """
    parts = _split(raw)
    if "?" in raw or "#" in raw:
        raise ValueError("must not have a query or a fragment")
    if " " in raw:
        raise ValueError("must not contain a space")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, except for a provider on this machine")
    if len(raw) > 255:
        raise ValueError("must have at most 255 characters")
    if raw.endswith(DISCOVERY_PATH):
        raise ValueError(f"must not end with {DISCOVERY_PATH}: the service adds it")
    return raw


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        # Any other name could be changed by its name server.
        return host == "localhost"


def client_id(raw: str) -> str:
    if len(raw) > 255 or not _VISIBLE.fullmatch(raw):
        raise ValueError("must have 1 to 255 printable ASCII characters")
    return raw


def scopes(raw: str) -> tuple[str, ...]:
    """Return the scopes of an authorization request, without duplicates."""
    parts = tuple(dict.fromkeys(raw.split()))
    if "openid" not in parts:
        raise ValueError("must contain openid")
    # RFC 6749, section 3.3: no quotes and no backslashes.
    if len(raw) > 1_000 or not all(re.fullmatch(r"[!#-\[\]-~]+", part) for part in parts):
        raise ValueError("must be scopes separated by spaces, with at most 1000 characters")
    return parts


def claim(raw: str) -> str:
    if len(raw) > 255 or not _VISIBLE.fullmatch(raw):
        raise ValueError("must be the name of a claim, with at most 255 characters")
    return raw


def token(raw: str) -> Secret:
    if not _TOKEN.fullmatch(raw):
        raise ValueError("must be a token, as `token create` prints it")
    return Secret(raw)


def origins(raw: str) -> tuple[str, ...]:
    """Return origins as browsers send them, such as https://app.example.org."""
    parts = tuple(part.strip() for part in raw.split(","))
    if parts == ("*",):
        return parts
    for part in parts:
        split = _split(part)
        if f"{split.scheme}://{split.netloc}" != part:
            raise ValueError("must be * alone, or origins such as https://app.example.org")
    return parts


def hosts(raw: str) -> tuple[str, ...]:
    """Return the host names and addresses to listen on, without duplicates."""
    parts = tuple(dict.fromkeys(part.strip() for part in raw.split(",")))
    if parts == (EVERY_ADDRESS,):
        return parts
    if any(part.startswith("unix:") for part in parts):
        raise ValueError("must not be a Unix socket, which is not supported: use 127.0.0.1")
    bare = tuple(part[1:-1] if part.startswith("[") else part for part in parts)
    if not all(map(_is_host, bare)):
        raise ValueError(
            "must be host names or addresses without ports, separated by commas; or * alone"
        )
    return bare


def _is_host(part: str) -> bool:
    try:
        ip_address(part)
    except ValueError:
        # A name whose last label has only digits is a mistyped address.
        return _HOST_NAME.fullmatch(part) is not None
    return True


def named_tokens(raw: str) -> Mapping[str, Secret]:
    """Return tokens by the names of client certificates."""
    tokens: dict[str, Secret] = {}
    for part in filter(None, (part.strip() for part in re.split("[,\n]", raw))):
        name, separator, token = part.rpartition("=")
        if not separator or not name.strip() or not token.strip() or name.strip() in tokens:
            raise ValueError("must be NAME=TOKEN, separated by commas, each name once")
        tokens[name.strip()] = Secret(token.strip())
    if not tokens:
        raise ValueError("must have at least one NAME=TOKEN")
    return tokens


def networks(raw: str) -> tuple[Network, ...]:
    """Return networks such as 10.0.0.0/8. A single address is a network too."""
    try:
        return tuple(ip_network(part.strip()) for part in raw.split(","))
    except ValueError:
        rule = "must be addresses or networks such as 10.0.0.0/8, with host bits 0"
        raise ValueError(rule) from None


def _split(raw: str) -> SplitResult:
    try:
        parts = urlsplit(raw)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if not has_port or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or not raw.isascii() or not raw.isprintable():
        raise ValueError("must have no user, and only printable ASCII")
    return parts


def boolean(raw: str) -> bool:
    lowered = raw.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return lowered in _TRUE


def choice(options: type[Choice]) -> Callable[[str], Choice]:
    def parse(raw: str) -> Choice:
        try:
            return options(raw.lower())
        except ValueError:
            raise ValueError(f"must be one of {', '.join(options)}") from None

    return parse


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        # int() would accept signs, underscores and spaces.
        is_number = raw.isascii() and raw.isdecimal() and len(raw) < 20
        if not is_number or not least <= int(raw) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(raw)

    return parse


def mebibytes(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of a number of MiB, which gives bytes."""
    parse = whole_number(least, most)
    return lambda raw: parse(raw) * 1024 * 1024


def seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            number = float(raw)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise ValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return number

    return parse


def pause(least: float, most: float) -> Callable[[str], float]:
    """Return the parser of an interval. 0 means never."""

    def parse(raw: str) -> float:
        try:
            return 0.0 if float(raw) == 0 else seconds(least, most)(raw)
        except ValueError:
            rule = f"must be 0, or a number of seconds from {least:g} to {most:g}"
            raise ValueError(rule) from None

    return parse


def recipients(raw: str) -> tuple[str, ...]:
    """Return age recipients in canonical form, without duplicates."""
    try:
        parsed = tuple(sorted({parse_recipient(part) for part in raw.split(",")}))
    except SealedError:
        parsed = ()
    if not 1 <= len(parsed) <= RECIPIENTS_MAX:
        raise ValueError(
            f"must be 1 to {RECIPIENTS_MAX} age recipients, age1…, separated by commas"
        )
    return parsed


def log_level(raw: str) -> int:
    levels = logging.getLevelNamesMapping()
    if raw.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be debug, info, warning or error")
    return levels[raw.upper()]


def key_material(raw: str) -> Secret:
    if len(raw) < 32:
        raise ValueError("must have at least 32 characters: use `openssl rand -base64 32`")
    return Secret(raw)
