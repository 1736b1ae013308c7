"""What the doctor finds: one promise, a verdict, and what was seen. No secret is ever in it."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

_NAMED_MAX = 5


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    ABSENT = "not available here"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One promise; `text` is what was seen, or begins with "because" where nothing could be."""

    name: str
    verdict: Verdict
    text: str
    group: str = ""


def passed(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=Verdict.PASS, text=text)


def warned(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=Verdict.WARN, text=text)


def failed(name: str, text: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, text=text)


def absent(name: str, because: str) -> Finding:
    return Finding(name=name, verdict=Verdict.ABSENT, text=f"because {because}")


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return fail, else warn, else pass: what could not be looked at is neither."""
    found = {finding.verdict for finding in findings}
    return next((v for v in (Verdict.FAIL, Verdict.WARN) if v in found), Verdict.PASS)


def first_few(named: Sequence[str], between: str = ", ") -> str:
    """Return the first of many, and how many more there are."""
    rest = f"{between}and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
    return between.join(named[:_NAMED_MAX]) + rest
