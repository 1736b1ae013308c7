"""Simulate how one change spreads from the commit to the clients of a plan.

Each process applies the change, and then serves its streams one after the other, while requests
take their share of its core. The network between the machines is not included.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from app.scripts.capacity.measured import Measured
from app.scripts.capacity.model import Plan

_CLIENTS = 2_000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The milliseconds until this share of the clients has the new values."""

    half_ms: float
    p99_ms: float
    last_ms: float


def simulate(plan: Plan, measured: Measured) -> Spread:
    """Return the times of clients that are drawn at random, always the same ones."""
    numbers = random.Random(1)  # noqa: S311 - a simulation
    times = sorted(_client_ms(plan, measured, numbers.random) for _ in range(_CLIENTS))
    return Spread(
        half_ms=times[_CLIENTS // 2],
        p99_ms=times[_CLIENTS * 99 // 100],
        last_ms=_client_ms(plan, measured, lambda: 1.0),
    )


def _client_ms(plan: Plan, measured: Measured, position: Callable[[], float]) -> float:
    total = 0.0
    for tier in plan.tiers:
        free = 1 - tier.request_cores / tier.processes
        total += measured.change_ms + position() * tier.streams_each * tier.stream_us / 1000 / free
    return total
