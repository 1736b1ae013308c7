"""Several fields as one context: each with its length before it, so no two lists look alike."""


def joined(*fields: str | bytes | int) -> bytes:
    """Return the fields as bytes that no other list of fields has."""
    parts = [_bytes(field) for field in fields]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _bytes(field: str | bytes | int) -> bytes:
    if isinstance(field, int):
        return field.to_bytes(8, "big")
    return field.encode() if isinstance(field, str) else field
