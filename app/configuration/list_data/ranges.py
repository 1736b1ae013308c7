"""Ranges of hashes: pages of a list for statements that must end in time."""

from collections.abc import Iterator

from app.evaluation.lists import COUNT_MAX

_ROWS = 20_000
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def hash_ranges(count: int = COUNT_MAX) -> Iterator[tuple[int, int]]:
    """Yield the first and the last hash of ranges with about equal parts of that many values."""
    parts = 1 << (count // _ROWS).bit_length()
    width = 2**64 // parts
    for part in range(parts):
        first = _LOWEST + part * width
        yield first, min(first + width - 1, _HIGHEST)
