"""The chain: each change set's hash covers what it says and the hash before it.

So the hash of the latest names the whole past: whoever has it can tell a history that goes on from
one that was swapped under it. What is hashed is the canonical JSON of RFC 8785, which depends
neither on how PostgreSQL prints jsonb nor on how Python prints numbers. Of a secret it covers the
commitment that is stored with it, see `crypto/envelope.py`: so it holds when the value is sealed
anew or can never be opened again, and tells nobody what the value is.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import rfc8785

from app.configuration.changes.models import Change, ChangeKind, Content, PropertiesChange

# What the first change set of an environment follows on.
GENESIS = bytes(32)
# Without any of these, msgspec's sorted JSON is what RFC 8785 asks for, made in a hundredth of the
# time: fractions and exponents, integers that a double may not hold, a negative zero, escapes.
_NOT_PLAIN = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0|\\|\x7f")
# The hook keeps numbers near the ends of a double's range from taking 7 microseconds each.
_decoder = msgspec.json.Decoder(float_hook=float)


def link_hash(  # noqa: PLR0913 - each is a part of the record
    previous: bytes,
    *,
    environment: str,
    revision: int,
    kind: ChangeKind,
    actor: str,
    message: str,
    created_at: datetime,
    changes: Sequence[Change],
    properties: PropertiesChange | None = None,
) -> bytes:
    """Return the hash of a change set that follows on the one with the hash `previous`."""
    record: dict[str, Any] = {
        "environment": environment,
        "revision": revision,
        "kind": kind,
        "actor": actor,
        "message": message,
        "created_at": created_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "changes": sorted(_digest(change) for change in changes),
    }
    if properties is not None:
        # Not as null elsewhere: what was hashed before there were any must hash to the same.
        record["properties"] = {"before": properties.before, "after": properties.after}
    return hashlib.sha256(previous + canonical(record)).digest()


def entry_hash(content: Content | None, version: int | None) -> bytes | None:
    """Return what tells an entry as it was read from any other, None where there is none.

    For comparing what is stored, which is printed in one way: it costs a fraction of what is
    canonical.
    """
    record = _entry(content, version)
    return (
        None
        if record is None
        else hashlib.sha256(msgspec.json.encode(record, order="sorted")).digest()
    )


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value (RFC 8785)."""
    text = msgspec.json.encode(value, order="sorted")
    if text.isascii() and _NOT_PLAIN.search(text) is None:
        return text
    return rfc8785.dumps(_as_doubles(_decoder.decode(text)))


def _digest(change: Change) -> str:
    record = {
        "key": change.key,
        "before": _entry(change.before.content, change.before.version),
        "after": _entry(change.after, change.version),
    }
    return hashlib.sha256(canonical(record)).hexdigest()


def _entry(content: Content | None, version: int | None) -> dict[str, Any] | None:
    if content is None:
        return None
    record = {
        "kind": content.kind,
        "value": content.value,
        "schema": content.schema,
        "description": content.description,
        "version": version,
    }
    if content.sealed is not None:
        # And not what is sealed, which changes whenever it is sealed anew.
        record["commitment"] = content.sealed.commitment.hex()
    return record


def _as_doubles(value: Any) -> Any:
    """Return the value with each integer that JavaScript cannot hold as the double it means."""
    if isinstance(value, dict):
        return {name: _as_doubles(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_doubles(element) for element in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return float(value)
    return value
