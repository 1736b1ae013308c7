"""The hash chain: each change set's hash covers its content and the hash before it.

So the latest hash identifies the whole history. The input is canonical JSON (RFC 8785), which does
not depend on how PostgreSQL prints jsonb or how Python prints numbers. For a secret, the hash
covers the stored commitment (see `secrets/envelope.py`) instead of the value. So it stays the same
when the value is sealed again or shredded, and it does not reveal the value.
"""

import hashlib
import re
from datetime import UTC
from typing import Any

import msgspec
import rfc8785

from app.configuration.changes.models import Change, Content, Link
from app.environments.models import Properties

# The hash before the first change set of an environment.
GENESIS = bytes(32)
# Fractions and exponents, integers that a double may not hold, a negative zero. Without these and
# without escapes, msgspec's sorted JSON is canonical, and takes a hundredth of the time.
_NOT_PLAIN = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0")
# Without the hook, a number near the ends of a double's range takes 7 microseconds.
_decoder = msgspec.json.Decoder(float_hook=float)


def link_hash(previous: bytes, link: Link) -> bytes:
    """Return the hash of a change set, given the hash of the change set before it."""
    record: dict[str, Any] = {
        "environment": link.environment,
        "revision": link.revision,
        "kind": link.kind,
        "actor": link.actor,
        "message": link.message,
        "created_at": link.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "changes": sorted(_digest(change) for change in link.changes),
    }
    if link.properties is not None:
        # Left out otherwise: change sets older than properties must keep their hash.
        change = link.properties
        record["properties"] = {
            "before": _properties(change.before),
            "after": _properties(change.after),
        }
    if link.approval is not None:
        record["approval"] = link.approval
    return hashlib.sha256(previous + canonical(record)).digest()


def _properties(properties: Properties) -> dict[str, Any]:
    """Return the members. Those of earlier releases have no protection, and keep their hash."""
    members = msgspec.structs.asdict(properties)
    if properties.protection is None:
        del members["protection"]
    return members


def entry_hash(content: Content | None, version: int | None) -> bytes | None:
    """Return a hash for comparing stored entries. It is not canonical, and so much faster."""
    record = _entry(content, version)
    return (
        None
        if record is None
        else hashlib.sha256(msgspec.json.encode(record, order="sorted")).digest()
    )


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value (RFC 8785)."""
    text = msgspec.json.encode(value, order="sorted")
    if _is_canonical(text):
        return text
    return rfc8785.dumps(_as_doubles(_decoder.decode(text)))


def _is_canonical(text: bytes) -> bool:
    """Return whether JSON with sorted members is canonical; False if that takes long to find."""
    if not text.isascii() or b"\\" in text or b"\x7f" in text:
        return False
    # Without escapes, every second part is outside of strings.
    return _NOT_PLAIN.search(b'"'.join(text.split(b'"')[::2])) is None


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
        # The sealed value itself changes with each sealing.
        record["commitment"] = content.sealed.commitment.hex()
    return record


def _as_doubles(value: Any) -> Any:
    """Return the value with each integer beyond 2^53 as a double, as JavaScript reads it."""
    if isinstance(value, dict):
        return {name: _as_doubles(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_doubles(element) for element in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return float(value)
    return value
