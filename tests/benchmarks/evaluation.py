"""Measure the engine alone against flagd's evaluator, and compile ten thousand flags.

Both evaluators run in this thread, in short rounds that take turns, and the median ratio counts.
Our evaluator has parsed the same version before, as for most clients.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from rich.progress import Progress

from app.evaluation.engine import Flag, FlagSet
from tests.benchmarks.compiling import Compiled, conditions, definition, rollout
from tests.benchmarks.figures import P50, Figure, milliseconds, percentile
from tests.benchmarks.memory import MIB
from tests.paths import ROOT

ROUNDS = 15
_ROUND_EVALUATIONS = 2_000
_KEY = "bench"
_CONTEXT: dict[str, Any] = {
    "targetingKey": "user-4711",
    "country": "NL",
    "email": "ada@example.com",
    "age": 37,
    "plan": "pro",
    "version": "2.11.3",
}


async def measure(progress: Progress) -> list[Figure]:
    """Measure both rules against flagd's evaluator, and a large environment."""
    task = progress.add_task("evaluation: two rules", total=2)
    figures = [
        _compared("a rule of four conditions", conditions()),
        _compared("sem_ver, then fractional", rollout()),
    ]
    progress.update(task, advance=1, description="evaluation: compiling")
    figures += _compiling(await _child())
    progress.advance(task)
    return figures


def _compared(case: str, targeting: dict[str, Any]) -> Figure:
    flag = Flag(_KEY, definition(targeting), FlagSet({}, "v3", {}))
    core = FlagdCore()
    core.set_flags({"flags": {_KEY: deepcopy(definition(targeting))}})
    attributes = {name: value for name, value in _CONTEXT.items() if name != "targetingKey"}
    user = EvaluationContext(_CONTEXT["targetingKey"], attributes)
    same = core.resolve_string_value(_KEY, "", user).variant
    if flag.evaluate(_CONTEXT, 0).outcome.variant != same:
        raise AssertionError("the two evaluators disagree")

    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_rate(lambda: flag.evaluate(_CONTEXT, 0)))
        theirs.append(_rate(lambda: core.resolve_string_value(_KEY, "", user)))
    mine, other = statistics.median(ours), statistics.median(theirs)
    return Figure(
        case=case,
        value=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        unit="of flagd-core",
        detail=f"{mine:,.0f} evaluations/s, flagd-core {other:,.0f}; median of {ROUNDS} rounds",
    )


def _rate(evaluate: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(_ROUND_EVALUATIONS):
        evaluate()
    return _ROUND_EVALUATIONS / (time.perf_counter() - started)


def _compiling(compiled: Compiled) -> list[Figure]:
    each_bytes = compiled.resident_bytes / compiled.flags
    return [
        Figure(
            case=f"{compiled.flags:,} flags compiled",
            value=compiled.cold_seconds,
            unit="s",
        ),
        Figure(
            case=f"memory of {compiled.flags:,} compiled flags",
            value=compiled.resident_bytes / MIB,
            unit="MiB",
            detail=f"resident, collected; {each_bytes:,.0f} bytes each",
        ),
        Figure(
            case="one flag changed",
            value=percentile(compiled.changes_seconds, 0.5) * 1000,
            unit=P50,
            detail=f"{len(compiled.changes_seconds)} changes, "
            f"{milliseconds(compiled.changes_seconds)}; at most {max(compiled.recompiled)} "
            "compiled again",
        ),
    ]


async def _child() -> Compiled:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.compiling"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await child.communicate()
    return msgspec.json.decode(out, type=Compiled)
