"""Signed heads of the chain: stored elsewhere, they prove the history up to their revision.

A head is one line of JSON: environment, epoch, revision, hash, expected schema, time, public key,
and a signature over the canonical JSON (RFC 8785) of the rest. It reveals no configuration.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from app.audit.chain import BrokenChainError
from app.configuration.changes.chain import canonical
from app.crypto.signing import Signer, is_signed
from app.database import Connection
from app.environments.models import Environment
from app.errors import invalid
from app.private_files import open_regular
from app.schema.expectations import Expectations, find_mismatch

_PURPOSE = "head/1"
_LINE_BYTES_MAX = 4_096
_BEGINNING = b'{"at":"'


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A head. `hash`, in hex, is of the change set `revision`; `key` is the signer's public key.

    `schema_hash` covers the rows of `schema_fingerprints` up to `schema_id`. Both are absent before
    the first row.
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
    """Return the heads of a file, each signed with one of these keys.

    Raises Invalid with the line of any other head, and OSError. Skips a line that was cut off by a
    power failure: an attacker who can cut a line can also delete it.
    """
    heads: list[Head] = []
    for number, line in _lines(path):
        head = _parse(line, public_keys)
        if head is not None:
            heads.append(head)
        elif not _is_torn(line):
            raise invalid("heads", f"line {number} is not a head that this key has signed")
    return heads


def last_heads(path: Path, public_key: str) -> dict[str, Head]:
    """Return the last head of each environment in a file, none when there is no file.

    Reads the whole file, because the last head of an environment may be far from the end. Skips
    unreadable lines. Verifies the last heads only, or all heads if one of the last is forged.
    """
    last: dict[str, bytes] = {}
    try:
        for _, line in _lines(path):
            head = _decode(line)
            if head is not None and head.key == public_key:
                last[head.environment] = line
    except FileNotFoundError:
        return {}
    heads = [_parse(line, {public_key}) for line in last.values()]
    if None in heads:
        heads = [_parse(line, {public_key}) for _, line in _lines(path)]
    return {head.environment: head for head in heads if head is not None}


def heads_of(heads: Iterable[Head], name: str, epoch: str | None = None) -> list[Head]:
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
    """Return whether the line is the beginning of a head. NUL bytes may follow it."""
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


async def check_expectations(connection: Connection, heads: Iterable[Head]) -> None:
    """Raise BrokenChainError for the first head whose expected schema is not stored unchanged."""
    expected = [(head.revision, head.expectations) for head in heads]
    if (revision := await find_mismatch(connection, expected)) is not None:
        reason = "was signed with another expected schema than is stored for that time"
        raise BrokenChainError(revision, reason)
