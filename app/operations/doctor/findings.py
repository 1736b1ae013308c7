"""A finding of the doctor: a promise, a verdict and the observation. It never holds a secret."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

_SHOWN_MAX = 5


class FindingVerdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    ABSENT = "not available here"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One promise. `text` is the observation, or begins with "because" for a check not made."""

    name: str
    verdict: FindingVerdict
    text: str
    group: str = ""


def passed(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=FindingVerdict.PASS, text=text)


def warned(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=FindingVerdict.WARN, text=text)


def failed(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=FindingVerdict.FAIL, text=text)


def absent(name: str, because: str) -> Finding:
    return Finding(name=name, verdict=FindingVerdict.ABSENT, text=f"because {because}")


def worst(findings: Iterable[Finding]) -> FindingVerdict:
    """Return fail, else warn, else pass. Checks that were not made do not count."""
    verdicts = {finding.verdict for finding in findings}
    ranked = (FindingVerdict.FAIL, FindingVerdict.WARN)
    return next((verdict for verdict in ranked if verdict in verdicts), FindingVerdict.PASS)


def first_few(texts: Sequence[str], separator: str = ", ") -> str:
    """Join the first texts, and say how many more there are."""
    hidden = len(texts) - _SHOWN_MAX
    rest = f"{separator}and {hidden} more" if hidden > 0 else ""
    return separator.join(texts[:_SHOWN_MAX]) + rest
