"""The number of random examples of a property.

`make test` tries a quarter of them; `make test-all` tries all. Hypothesis stores a failing example.
"""

import os

_ALL = bool(os.environ.get("FLAGSTONE_FULL_EXAMPLES"))
_LEAST = 5


def examples(number: int) -> int:
    """Return this number, or a quarter of it unless FLAGSTONE_FULL_EXAMPLES is set."""
    return number if _ALL else max(min(number, _LEAST), number // 4)
