"""Compare versions for flagd's `sem_ver`, by Semantic Versioning 2 with a lenient syntax.

A leading `v` and missing minor and patch numbers are allowed; build metadata is ignored. `^` tests
for the same major number, `~` for the same major and minor number, and both ignore the rest.
"""

import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from app.evaluation.run import Run
from app.evaluation.values import is_number, number_text

VERSION_LENGTH_MAX = 256

_NUMBER = r"(0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"[vV]?{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?)?)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
# A release sorts after all its prereleases.
_RELEASE = ((2, 0, ""),)

Version = tuple[int, int, int, tuple[tuple[int, int, str], ...]]

COMPARISONS: dict[str, Callable[[Version, Version], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "^": lambda left, right: left[0] == right[0],
    "~": lambda left, right: left[:2] == right[:2],
}


def compare(run: Run, value: Any, comparison: Any, target: Any) -> bool | None:
    """Return the result, None when a version or the comparison is invalid."""
    left, right = version(value, run), version(target, run)
    compared = comparison_of(comparison)
    if left is None or right is None or compared is None:
        return None
    return compared(left, right)


def comparison_of(name: Any) -> Callable[[Version, Version], bool] | None:
    return COMPARISONS.get(name) if isinstance(name, str) else None


def version(value: Any, run: Run) -> Version | None:
    """Parse a version into a comparable tuple, None when it is invalid."""
    if type(value) is not str:
        if not is_number(value):
            return None
        value = number_text(value)
    if len(value) > VERSION_LENGTH_MAX:
        return None
    # The same steps with and without a cache hit: a run must not depend on earlier runs.
    run.spend(len(value) // 2)
    return _parse(value)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Version | None:
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    parts = tuple(_part(part) for part in prerelease.split(".")) if prerelease else _RELEASE
    return int(major), int(minor or 0), int(patch or 0), parts


def _part(text: str) -> tuple[int, int, str]:
    """Sort numbers before strings, and compare them as numbers."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
