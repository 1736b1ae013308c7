"""Heads of the chain, signed: whoever keeps them elsewhere can prove what the history was.

A head is one line of JSON with the environment, its epoch, revision and hash, what the schema was
expected to be, the time, the public key and the signature over the canonical JSON (RFC 8785) of all
but the signature. It names the whole past up to its revision, and tells nothing of what is in it.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from app.audit.chain_walk import BrokenChainError
from app.configuration.changes.chain import canonical
from app.crypto.signing import Signer, is_signed
from app.database import Connection
from app.environments.models import Environment
from app.errors import AppError, invalid
from app.private_files import open_regular
from app.schema.expectations import Expectations, find_mismatch

_PURPOSE = "head/1"
_LINE_BYTES_MAX = 4_096
_NOT_AS_SIGNED = "was signed with other expectations of the schema than are kept for that time"
_BEGINNING = b'{"at":"'


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`hash`, in hex, is that of the change set `revision`; `key` is the signer's public half.

    `schema_hash` is over what the schema was expected to be, up to the row `schema_id` of
    `schema_fingerprints`; neither is there where nothing was expected yet.
    """

    at: datetime
    environment: str
    epoch: str
    revision: int
    hash: str
    key: str
    schema_id: int | None = None
    schema_hash: str | None = None

    @property
    def expectations(self) -> Expectations | None:
        if self.schema_id is None or self.schema_hash is None:
            return None
        return Expectations(self.schema_id, self.schema_hash)


class SignedHead(Head, frozen=True, kw_only=True):
    signature: str


def signed(
    environment: Environment, expectations: Expectations | None, at: datetime, signer: Signer
) -> SignedHead | None:
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
        schema_id=expectations.id if expectations else None,
        schema_hash=expectations.hash if expectations else None,
    )
    return SignedHead(
        **msgspec.structs.asdict(head), signature=signer.sign(_PURPOSE, canonical(head))
    )


def read_heads(path: Path, public_keys: Collection[str]) -> list[Head]:
    """Return the heads of a file, each of which is signed with one of these keys.

    Raises Invalid that names the line of one that is not, and OSError. A line that was torn when
    somebody pulled the plug is passed over; to take lines away needs no tearing.
    """
    heads: list[Head] = []
    for number, line in _lines(path):
        head = _parse(line, public_keys)
        if head is not None:
            heads.append(head)
        elif not _is_torn(line):
            raise _unusable(number)
    return heads


def last_heads(path: Path, public_key: str) -> dict[str, Head]:
    """Return the last head of each environment in a file, none when there is no file.

    The whole of it is read: one that seldom changes has its last far above those of the others.
    What cannot be read is passed over. Signatures are looked at of the last ones alone, unless one
    of those is forged.
    """
    last: dict[str, bytes] = {}
    try:
        for _, line in _lines(path):
            head = _decode(line)
            if head is not None and head.key == public_key:
                last[head.environment] = line
    except FileNotFoundError:
        return {}
    found = [_parse(line, {public_key}) for line in last.values()]
    if None in found:
        found = [_parse(line, {public_key}) for _, line in _lines(path)]
    return {head.environment: head for head in found if head is not None}


def heads_of(heads: Iterable[Head], name: str, epoch: str | None = None) -> list[Head]:
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


def _is_torn(line: bytes) -> bool:
    """Tell whether it is the beginning of a head, or what a file system leaves of one."""
    text = line.rstrip(b"\r\n\0")
    if not text.startswith(_BEGINNING) and not _BEGINNING.startswith(text):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return False


def _parse(line: bytes, public_keys: Collection[str]) -> Head | None:
    head = _decode(line)
    if head is None or head.key not in public_keys:
        return None
    fields = msgspec.structs.asdict(head)
    signature = fields.pop("signature")
    unsigned = Head(**fields)
    is_genuine = is_signed(head.key, _PURPOSE, canonical(unsigned), signature)
    return unsigned if is_genuine else None


def _decode(line: bytes) -> SignedHead | None:
    try:
        return msgspec.json.decode(line, type=SignedHead)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _unusable(number: int) -> AppError:
    return invalid("heads", f"line {number} is no head that this key has signed")


async def check_expectations(connection: Connection, heads: Iterable[Head]) -> None:
    """Make sure that the schemas that were expected at each head are stored unchanged.

    Raises BrokenChainError with the revision of the first head that differs.
    """
    signed = [(head.revision, head.expectations) for head in heads]
    if (revision := await find_mismatch(connection, signed)) is not None:
        raise BrokenChainError(revision, _NOT_AS_SIGNED)
