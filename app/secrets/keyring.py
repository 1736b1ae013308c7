"""The key ring: the key-encryption keys in a file or a variable.

Each line is one key, `STATE ID KEY`, with the key in base64. Lines that begin with # are comments.
A semicolon may replace the end of a line:

    active  20261124-9f86d081  4pPzyQ1…=
    decrypt 20260601-c4ca4238  Zm9vYmF…=

The active key wraps new data keys. A decrypt key only unwraps the data keys that it wrapped. A
retired key does neither, and stays in the file until an operator removes it.
"""

import base64
import binascii
import hmac
import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from app.errors import ForeseenError
from app.program import PROGRAM
from app.secrets.envelope import KEY_BYTES

ID_RULE = "must be 1 to 64 of a-z, 0-9, - and _"
_ID = re.compile(r"[a-z0-9_-]{1,64}")
_SEE_KEYS = f". Run `{PROGRAM} key list` to see the keys"
KEYS_MAX = 1_000
# Enough for KEYS_MAX keys, each with a comment.
RING_BYTES_MAX = 1024 * 1024


class KeyRingError(ForeseenError):
    """The key ring cannot be used. The text has lines and ids, never a key."""


class KeyState(StrEnum):
    ACTIVE = "active"
    DECRYPT = "decrypt"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key-encryption key."""

    id: str
    state: KeyState
    material: bytes = field(repr=False)

    @property
    def line(self) -> str:
        text = base64.b64encode(self.material).decode()
        return f"{self.state:<7} {self.id} {text}"


@dataclass(frozen=True)
class KeyRing:
    """Key-encryption keys; exactly one is active, unless the ring is empty."""

    keys: tuple[Key, ...] = ()

    @property
    def active(self) -> Key | None:
        return next((key for key in self.keys if key.state is KeyState.ACTIVE), None)

    def get(self, key_id: str) -> Key | None:
        """Return the key of an id, None when it is missing or retired."""
        usable = (key for key in self.keys if key.state is not KeyState.RETIRED)
        return next((key for key in usable if key.id == key_id), None)

    def with_key(self, key: Key) -> "KeyRing":
        return KeyRing((*self.keys, key))

    def activated(self, key_id: str) -> "KeyRing":
        """Return the ring with this key active. Raises KeyRingError if it is missing or retired."""
        if self.get(key_id) is None:
            raise KeyRingError(f"the key ring has no key {key_id} to use{_SEE_KEYS}")

        def state(key: Key) -> KeyState:
            if key.id == key_id:
                return KeyState.ACTIVE
            return KeyState.DECRYPT if key.state is KeyState.ACTIVE else key.state

        return KeyRing(tuple(replace(key, state=state(key)) for key in self.keys))

    def retired(self, key_id: str) -> "KeyRing":
        """Return the ring with a key retired. Raises KeyRingError for an active or missing key."""
        old = next((key for key in self.keys if key.id == key_id), None)
        if old is None:
            raise KeyRingError(f"the key ring has no key {key_id}{_SEE_KEYS}")
        if old.state is KeyState.ACTIVE:
            raise KeyRingError(f"{key_id} is the active key; make another one active first")
        retired = replace(old, state=KeyState.RETIRED)
        return KeyRing(tuple(retired if key is old else key for key in self.keys))

    def with_missing(self, other: "KeyRing") -> "KeyRing":
        """Return the ring with the other ring's missing keys added.

        The active key stays active; the other ring's active key is added to decrypt only. Raises
        KeyRingError when the same id has different key material.
        """
        if not self.keys:
            return other
        ours = {key.id: key for key in self.keys}
        missing = [key for key in other.keys if key.id not in ours]
        for key in other.keys:
            if key.id in ours and not hmac.compare_digest(key.material, ours[key.id].material):
                raise KeyRingError(f"{key.id} has different key material in the two key rings")
        if len(ours) + len(missing) > KEYS_MAX:
            raise KeyRingError(f"must not have more than {KEYS_MAX} keys")
        added = (
            replace(key, state=KeyState.DECRYPT) if key.state is KeyState.ACTIVE else key
            for key in missing
        )
        return KeyRing((*self.keys, *added))

    @property
    def text(self) -> str:
        return "".join(f"{key.line}\n" for key in self.keys)


def new_key(state: KeyState, today: date) -> Key:
    """Return a new random key. Its id begins with the date."""
    key_id = f"{today:%Y%m%d}-{secrets.token_hex(4)}"
    return Key(id=key_id, state=state, material=secrets.token_bytes(KEY_BYTES))


def parse_key_ring(text: str) -> KeyRing:
    """Parse a key ring. Raises KeyRingError that names the line and its rule."""
    keys: list[Key] = []
    for number, line in enumerate(re.split("[\n;]", text), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        keys.append(_parse_line(bare, number))
        if len(keys) > KEYS_MAX:
            raise KeyRingError(f"must not have more than {KEYS_MAX} keys")
    if len({key.id for key in keys}) < len(keys):
        raise KeyRingError("must not have two keys of one id")
    active = sum(key.state is KeyState.ACTIVE for key in keys)
    if active != 1 and keys:
        raise KeyRingError(f"must have one active key, and has {active}")
    return KeyRing(tuple(keys))


def _parse_line(line: str, number: int) -> Key:
    parts = line.split()
    if len(parts) != 3:
        raise KeyRingError(f"line {number} must be STATE ID KEY")
    state, key_id, text = parts
    if state not in set(KeyState):
        raise KeyRingError(f"line {number}: the state must be one of {', '.join(KeyState)}")
    if not _ID.fullmatch(key_id):
        raise KeyRingError(f"line {number}: the id {ID_RULE}")
    try:
        material = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if len(material) != KEY_BYTES:
        raise KeyRingError(f"line {number}: the key must be {KEY_BYTES} bytes in base64")
    return Key(id=key_id, state=KeyState(state), material=material)
