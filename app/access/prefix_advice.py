"""Advice on prefixes that are allowed, and that often say more than was meant."""

from collections.abc import Sequence

from app.access.models import EVERY_KEY

# A key has these between its parts.
_SEPARATORS = ("/", ".", "_", "-")


def prefix_advice(prefixes: Sequence[str]) -> list[str]:
    """Return a sentence for each prefix that probably covers more keys than was meant."""
    named = [prefix for prefix in prefixes if prefix != EVERY_KEY]
    if named and len(named) < len(prefixes):
        listed = ", ".join(named)
        return [
            f"the empty prefix is for all keys, so {listed} limits nothing: leave one of them out"
        ]
    return [
        f"{prefix} is also the beginning of {prefix}-old/x: write {prefix}/ for this folder alone"
        for prefix in named
        if not prefix.endswith(_SEPARATORS)
    ]
