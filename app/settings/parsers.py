"""From the text of an environment variable to a value.

Every parser raises ValueError with the rule alone: an operator's log must not show what was typed,
since it may be a password that landed in the wrong variable.
"""

import logging
import re
from collections.abc import Callable
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
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\.?$)({_LABEL}\.)*(?=[^.]*[A-Za-z_]){_LABEL}\.?")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def path(raw: str) -> Path:
    try:
        return Path(raw).expanduser()
    except RuntimeError:
        raise ValueError("must not begin with the home of an unknown account") from None


def web_url(raw: str) -> str:
    """Return an http or https URL without the slash at its end."""
    parts = _split(raw)
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return raw.rstrip("/")


def origins(raw: str) -> tuple[str, ...]:
    """Return origins as browsers send them, such as https://app.example.org."""
    found = tuple(part.strip() for part in raw.split(","))
    if found == ("*",):
        return found
    for part in found:
        split = _split(part)
        if f"{split.scheme}://{split.netloc}" != part:
            raise ValueError("must be * alone, or origins such as https://app.example.org")
    return found


def hosts(raw: str) -> tuple[str, ...]:
    """Return what to listen on: names and addresses of this machine, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in raw.split(",")))
    if found == (EVERY_ADDRESS,):
        return found
    if any(part.startswith("unix:") for part in found):
        raise ValueError("must not be a Unix socket, which is not supported: use 127.0.0.1")
    bare = tuple(part[1:-1] if part.startswith("[") else part for part in found)
    if not all(map(_is_host, bare)):
        raise ValueError(
            "must be host names or addresses with commas between, without a port; or * alone"
        )
    return bare


def _is_host(part: str) -> bool:
    try:
        ip_address(part)
    except ValueError:
        # A name that ends in digits alone is a mistyped address.
        return _HOST_NAME.fullmatch(part) is not None
    return True


def networks(raw: str) -> tuple[Network, ...]:
    """Return networks such as 10.0.0.0/8; an address alone is one too."""
    try:
        return tuple(ip_network(part.strip()) for part in raw.split(","))
    except ValueError:
        rule = "must be addresses or networks such as 10.0.0.0/8, without bits below the prefix"
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
        raise ValueError("must not hold a user, nor anything but printable ASCII")
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
        # isdecimal keeps out signs, underscores and spaces, all of which int() would take.
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
    """Return the parser of an interval, which may also be 0 for never."""

    def parse(raw: str) -> float:
        try:
            return 0.0 if float(raw) == 0 else seconds(least, most)(raw)
        except ValueError:
            rule = f"must be 0, or a number of seconds from {least:g} to {most:g}"
            raise ValueError(rule) from None

    return parse


def recipients(raw: str) -> tuple[str, ...]:
    """Return age recipients, each in its one spelling and once."""
    try:
        found = tuple(sorted({parse_recipient(part) for part in raw.split(",")}))
    except SealedError:
        found = ()
    if not 1 <= len(found) <= RECIPIENTS_MAX:
        raise ValueError(
            f"must be 1 to {RECIPIENTS_MAX} age recipients, age1…, with commas between"
        )
    return found


def log_level(raw: str) -> int:
    levels = logging.getLevelNamesMapping()
    if raw.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be debug, info, warning or error")
    return levels[raw.upper()]


def key_material(raw: str) -> Secret:
    if len(raw) < 32:
        raise ValueError(
            "must have at least 32 characters, such as `openssl rand -base64 32` gives"
        )
    return Secret(raw)
