"""The rate of evaluations in the last ten minutes, sampled in memory."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aiohttp import web

from app.components import Component
from app.flags.usage import UsageCounts
from app.tasks import repeat

SAMPLE_SECONDS = 10.0
_SAMPLES_MAX = 61


@dataclass(frozen=True, kw_only=True)
class RateSample:
    """The evaluations since the start of the process, by environment, at one moment."""

    monotonic: float
    totals: Counter[str]


class EvaluationRates(Component):
    """Samples the evaluations of this process every 10 s."""

    name = "evaluation_rates"

    def __init__(self, usage: UsageCounts) -> None:
        self._usage = usage
        self._samples: deque[RateSample] = deque(maxlen=_SAMPLES_MAX)

    async def run(self) -> None:
        await repeat(lambda: SAMPLE_SECONDS, self.run_once)

    async def run_once(self) -> None:
        totals = Counter[str]()
        for (environment, _), count in self._usage.totals().items():
            totals[environment] += count
        self._samples.append(RateSample(monotonic=time.monotonic(), totals=totals))

    def of(self, environment: str) -> Sequence[float]:
        """Return the evaluations per second in each interval, the latest last."""
        return [
            (after.totals[environment] - before.totals[environment])
            / max(after.monotonic - before.monotonic, 0.001)
            for before, after in pairwise(self._samples)
        ]


RATES: web.AppKey[EvaluationRates] = web.AppKey("evaluation_rates", EvaluationRates)
