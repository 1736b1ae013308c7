"""Measure the check of a token, without HTTP."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.progress import Progress

from app.access.directory import TokenDirectory
from app.access.format import GeneratedToken, generate_token
from app.access.mac import mac
from app.access.models import Grant, Scope, Token
from app.access.rate_limit import RateLimit
from app.database import Database
from app.errors import LimitExceeded, Unauthenticated
from app.settings import Secret, load
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 15
_TOKENS = 1_000
_CHECKS = 2_000
_KEY = Secret("k" * 32)
_GRANT = Grant(
    scopes=frozenset({Scope.READ}),
    environments=frozenset({"production"}),
    expires_at=datetime.now(UTC) + timedelta(days=1),
)


async def measure(progress: Progress) -> list[Figure]:
    """Measure the check of known tokens, of tokens new to the process, and of invalid ones."""
    task = progress.add_task("access", total=ROUNDS)
    new = [generate_token(is_admin=False) for _ in range(_TOKENS)]
    stored = [_stored(token) for token in new]
    shown = [token.text for token in new]
    forged = [generate_token(is_admin=False).text for _ in range(_TOKENS)]
    directory = TokenDirectory(Database(load({}).database), _KEY)
    known: list[list[float]] = []
    first: list[list[float]] = []
    bad: list[list[float]] = []
    for _ in range(ROUNDS):
        directory.use(stored)
        first.append(_times(directory, shown[:_TOKENS]))
        known.append(_times(directory, shown * (_CHECKS // _TOKENS)))
        bad.append(_times(directory, forged))
        progress.advance(task)
    return [
        _figure("a good token that was seen before", known),
        _figure("a good token, for the first time", first),
        _figure("a bad token", bad),
        _figure("a failure of one of many prefixes", [_failures() for _ in range(ROUNDS)]),
    ]


def _stored(new: GeneratedToken) -> Token:
    token = Token(id=new.id, name="bench", mac=b"", grant=_GRANT)
    return replace(token, mac=mac(_KEY, new.text, _GRANT))


def _times(directory: TokenDirectory, shown: Sequence[str]) -> list[float]:
    times = []
    for text in shown:
        started = time.perf_counter()
        with suppress(Unauthenticated):
            directory.authenticate(text)
        times.append(time.perf_counter() - started)
    return times


def _failures() -> list[float]:
    counted, times = RateLimit(), []
    for number in range(_CHECKS):
        started = time.perf_counter()
        with suppress(LimitExceeded):
            counted.count(f"2001:db8:{number % 500:x}::1")
        times.append(time.perf_counter() - started)
    return times


def _figure(case: str, rounds: Sequence[Sequence[float]]) -> Figure:
    slow = median_of(rounds, 0.99) * 1_000_000
    return Figure(
        case=case,
        value=median_of(rounds, 0.5) * 1_000_000,
        unit="µs, p50",
        detail=f"p99 {slow:.1f} µs, median of {len(rounds)} rounds; {_TOKENS:,} tokens",
    )
