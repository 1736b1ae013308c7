"""All promises at once: three replicas, writers, people with proposals, streams, and faults."""

import os
import secrets
from pathlib import Path

import pytest

from tests.process.history.run import Run

SECONDS = 12.0


@pytest.mark.slow
async def test_every_promise_holds_under_faults(data_dir: Path) -> None:
    """FLAGSTONE_SEED repeats the choices of an earlier run, though not its timing."""
    run = Run(os.environ.get("FLAGSTONE_SEED") or secrets.token_hex(4))
    print(f"FLAGSTONE_SEED={run.seed}")  # noqa: T201 - pytest shows it when the test fails

    await run.go(data_dir, SECONDS)

    assert not run.violations, run.verdict
