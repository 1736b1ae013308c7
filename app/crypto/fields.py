"""Join fields unambiguously: each is preceded by its length."""


def joined(*fields: str | bytes | int) -> bytes:
    """Return the fields as bytes; two different lists never give the same bytes."""
    parts = [_bytes(field) for field in fields]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _bytes(field: str | bytes | int) -> bytes:
    if isinstance(field, int):
        return field.to_bytes(8, "big")
    return field.encode() if isinstance(field, str) else field
