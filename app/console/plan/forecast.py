"""Who gets what at an instant: the sampled keys now, and then."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.console.flag.preview_panel import BarPart, bar_of, ordered_names
from app.evaluation.engine import Flag
from app.evaluation.plans.compiling import definition_at
from app.flags.preview import SECONDS_MAX
from app.flags.sampling import (
    SAMPLE_KEYS,
    TARGETING_KEY,
    count_outcomes,
    outcome_name,
    sampled_contexts,
)
from app.flags.wording import describe

_OUTCOMES_MAX = 12


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The outcomes of sampled keys. `bars` has those of now, and those at the instant.

    `words` say what the flag serves at the instant.
    """

    at: datetime
    words: Sequence[str]
    keys: int
    bars: Sequence[tuple[str, Sequence[BarPart]]]


def forecast(flag: Flag, definition: Any, at: datetime, now: datetime) -> Forecast:
    """Evaluate the sampled keys now and at an instant. Takes up to 2 s: run it in a thread."""
    end = time.thread_time() + SECONDS_MAX
    totals = [_totals(flag, int(moment.timestamp()), end) for moment in (now, at)]
    seen = sum(totals, Counter[str]()).most_common(_OUTCOMES_MAX)
    names = ordered_names(definition, definition, {name for name, _ in seen})
    bars = [
        (title, bar_of(counts, names))
        for title, counts in zip(("Now", "Then"), totals, strict=True)
    ]
    return Forecast(
        at=at,
        words=list(describe(definition_at(definition, int(at.timestamp())))),
        keys=min(counts.total() for counts in totals),
        bars=bars,
    )


def _totals(flag: Flag, now: int, end: float) -> Counter[str]:
    contexts = sampled_contexts({}, [TARGETING_KEY], SAMPLE_KEYS)
    counts = count_outcomes([flag], contexts, now, is_over=lambda: time.thread_time() > end)
    totals: Counter[str] = Counter()
    for (body,), keys in counts.items():
        totals[outcome_name(flag.encoded(body).outcome)] += keys
    return totals
