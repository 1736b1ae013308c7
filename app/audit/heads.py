"""Heads of the chain, signed: whoever keeps them elsewhere can prove what the history was.

A head is one line of JSON with the environment, its epoch, revision and hash, the time, the public
key and the signature over the canonical JSON (RFC 8785) of all but the signature. It names the
whole past up to its revision, and tells nothing of what is in it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from app.changes.chain import canonical
from app.crypto.signing import Signer, is_signed
from app.environments.models import Environment
from app.errors import AppError, invalid
from app.files import open_regular

_PURPOSE = "head/1"
_LINE_BYTES_MAX = 4_096


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`hash`, in hex, is that of the change set `revision`; `key` is the signer's public half."""

    at: datetime
    environment: str
    epoch: str
    revision: int
    hash: str
    key: str


class SignedHead(Head, frozen=True, kw_only=True):
    signature: str


def signed(environment: Environment, at: datetime, signer: Signer) -> SignedHead | None:
    """Return the signed head of an environment, None while it has no chain."""
    if environment.hash is None:
        return None
    head = Head(
        at=at,
        environment=environment.name,
        epoch=environment.epoch,
        revision=environment.revision,
        hash=environment.hash,
        key=signer.public_key,
    )
    return SignedHead(
        **msgspec.structs.asdict(head), signature=signer.sign(_PURPOSE, canonical(head))
    )


def read_heads(path: Path, public_key: str) -> list[Head]:
    """Return the heads of a file, each of which is signed with this key.

    Raises Invalid that names the line of one that is not, and OSError.
    """
    heads: list[Head] = []
    for number, line in _lines(path):
        head = _parse(line, public_key)
        if head is None:
            raise _unusable(number)
        heads.append(head)
    return heads


def last_heads(path: Path, public_key: str, bytes_max: int) -> dict[str, Head]:
    """Return the last head of each environment among the last bytes of a file that is there.

    What cannot be read is passed over: a line is torn where somebody pulled the plug.
    """
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, 2) - bytes_max))
            lines = file.read(bytes_max).splitlines()
    except FileNotFoundError:
        return {}
    found = (_parse(line, public_key) for line in lines)
    return {head.environment: head for head in found if head is not None}


def of_environment(heads: Iterable[Head], name: str, epoch: str | None = None) -> list[Head]:
    """Return the heads of one environment, of one of its epochs if that is given."""
    return [
        head
        for head in heads
        if head.environment == name and (epoch is None or head.epoch == epoch)
    ]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open_regular(path) as file:
        number = 0
        while line := file.readline(_LINE_BYTES_MAX):
            number += 1
            if line.strip():
                yield number, line


def _parse(line: bytes, public_key: str) -> Head | None:
    try:
        head = msgspec.json.decode(line, type=SignedHead)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fields = msgspec.structs.asdict(head)
    signature = fields.pop("signature")
    unsigned = Head(**fields)
    if head.key != public_key or not is_signed(
        public_key, _PURPOSE, canonical(unsigned), signature
    ):
        return None
    return unsigned


def _unusable(number: int) -> AppError:
    return invalid("heads", f"line {number} is no head that this key has signed")
