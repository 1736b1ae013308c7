"""The key ring: the key-encryption keys, as a file or a variable holds them.

One key a line, `STATE ID KEY`, the key in base64; lines that begin with # are remarks, and a
semicolon may stand for the end of a line:

    active  20261124-9f86d081  4pPzyQ1…=
    decrypt 20260601-c4ca4238  Zm9vYmF…=

One key is active and wraps what is new; those to decrypt unwrap what they have wrapped; a retired
one does neither, and stays in the file until somebody takes it out.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from app.errors import ForeseenError
from app.secrets.envelope import KEY_BYTES

ID_RULE = "must be 1 to 64 of a-z, 0-9, - and _"
_ID = re.compile(r"[a-z0-9_-]{1,64}")
KEYS_MAX = 1_000
# More than so many keys take, with a remark to each.
RING_BYTES_MAX = 1024 * 1024


class KeyRingError(ForeseenError):
    """The key ring cannot be used. Names lines and ids, never a key."""


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
    """Key-encryption keys by id; at most one is active, and none only while there is no key."""

    keys: tuple[Key, ...] = ()

    @property
    def active(self) -> Key | None:
        return next((key for key in self.keys if key.state is KeyState.ACTIVE), None)

    def get(self, key_id: str) -> Key | None:
        """Return the key that unwraps what it has wrapped, None when there is none to use."""
        return next((k for k in self._usable if k.id == key_id), None)

    @property
    def _usable(self) -> Iterator[Key]:
        return (key for key in self.keys if key.state is not KeyState.RETIRED)

    def with_key(self, key: Key) -> "KeyRing":
        return KeyRing((*self.keys, key))

    def activated(self, key_id: str) -> "KeyRing":
        """Return the ring with this key active, and the one that was, there to decrypt.

        Raises KeyRingError when there is no such key to use.
        """
        if self.get(key_id) is None:
            raise KeyRingError(f"the key ring has no key {key_id} to use")

        def state(key: Key) -> KeyState:
            if key.id == key_id:
                return KeyState.ACTIVE
            return KeyState.DECRYPT if key.state is KeyState.ACTIVE else key.state

        return KeyRing(tuple(replace(key, state=state(key)) for key in self.keys))

    def retired(self, key_id: str) -> "KeyRing":
        """Return the ring with this key retired. Raises KeyRingError for the active or no key."""
        found = next((key for key in self.keys if key.id == key_id), None)
        if found is None:
            raise KeyRingError(f"the key ring has no key {key_id}")
        if found.state is KeyState.ACTIVE:
            raise KeyRingError(f"{key_id} is the active key; make another one active first")
        return KeyRing(
            tuple(replace(k, state=KeyState.RETIRED) if k is found else k for k in self.keys)
        )

    def with_missing(self, other: "KeyRing") -> "KeyRing":
        """Return the ring with the other's keys that it has not got; what is active here stays so.

        A key that was active there only decrypts here. Raises KeyRingError when a key of the same
        id is another one.
        """
        if not self.keys:
            return other
        ours = {key.id: key for key in self.keys}
        missing = [key for key in other.keys if key.id not in ours]
        for key in other.keys:
            if key.id in ours and not hmac.compare_digest(key.material, ours[key.id].material):
                raise KeyRingError(f"{key.id} is another key in the key ring that is here")
        if len(ours) + len(missing) > KEYS_MAX:
            raise KeyRingError(f"must not have more than {KEYS_MAX} keys")
        return KeyRing(
            (
                *self.keys,
                *(
                    replace(key, state=KeyState.DECRYPT) if key.state is KeyState.ACTIVE else key
                    for key in missing
                ),
            )
        )

    @property
    def text(self) -> str:
        return "".join(f"{key.line}\n" for key in self.keys)


def new_key(state: KeyState, today: date) -> Key:
    """Return a new random key, whose id begins with the day."""
    key_id = f"{today:%Y%m%d}-{secrets.token_hex(4)}"
    return Key(id=key_id, state=state, material=secrets.token_bytes(KEY_BYTES))


def parse_key_ring(text: str) -> KeyRing:
    """Return the key ring. Raises KeyRingError that names the line and its rule."""
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
