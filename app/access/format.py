"""The texts of credentials. A token is `fs_<type>_<id>_<secret><checksum>`, 70 characters.

With the prefix and the checksum, secret scanners find leaked tokens without false alarms, and a
mistyped token is refused before any lookup. In base 62, the ID has 13 characters, the secret 43
(256 bits), and the checksum 6: the CRC-32 of all characters before it. The cookie of a session and
the code of a one-time link are `<id>_<secret>`: no person types or stores them.
"""

import re
import secrets
import zlib
from typing import NamedTuple

PREFIX = "fs"
# For secret scanners; published in docs/access.md.
PATTERN = rf"{PREFIX}_(?:srv|adm)_[0-9A-Za-z]{{13}}_[0-9A-Za-z]{{49}}"

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(
    rf"{PREFIX}_(srv|adm)_([0-9A-Za-z]{{13}})_([0-9A-Za-z]{{43}})([0-9A-Za-z]{{6}})"
)
_ID_LENGTH = 13
_ID = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
SECRET_LENGTH = 43
_SHORT_LIVED = re.compile(r"([0-9A-Za-z]{13})_[0-9A-Za-z]{43}")
_CHECKSUM_LENGTH = 6


class GeneratedToken(NamedTuple):
    id: str
    text: str


def generate_token(*, is_admin: bool) -> GeneratedToken:
    token_id = _random(_ID_LENGTH)
    body = f"{PREFIX}_{'adm' if is_admin else 'srv'}_{token_id}_{_random(SECRET_LENGTH)}"
    return GeneratedToken(token_id, body + checksum(body))


def token_id(text: str) -> str | None:
    """Return the ID of a well-formed token, or None."""
    match = _TOKEN.fullmatch(text)
    if match is None or checksum(text[:-_CHECKSUM_LENGTH]) != match[4]:
        return None
    return match[2]


def generate_secret() -> GeneratedToken:
    """Return the ID and the text of a session or of a one-time code."""
    id_ = _random(_ID_LENGTH)
    return GeneratedToken(id_, f"{id_}_{_random(SECRET_LENGTH)}")


def secret_id(text: str) -> str | None:
    """Return the ID of a well-formed session or one-time code, or None."""
    match = _SHORT_LIVED.fullmatch(text)
    return match[1] if match else None


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def checksum(text: str) -> str:
    number = zlib.crc32(text.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
