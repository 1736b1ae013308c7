"""`make bench` measures what it can, and its status says whether it measured everything."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks.results import Results
from tests.paths import ROOT


@pytest.mark.slow
def test_bench_goes_on_after_a_failed_part(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    # The service of `sizes` does not start with this; `sealing` has no service.
    environment = {**os.environ, "LOG_LEVEL": "loud"}

    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "sizes", "sealing", "--json", file],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    results = msgspec.json.decode(file.read_bytes(), type=Results)
    assert run.returncode == 1, run.stderr
    assert [figure.case for figure in results.parts["sealing"]] == [
        "seal 256 bytes",
        "open 256 bytes",
    ]
    assert "sizes failed" in run.stdout
    assert "LOG_LEVEL" in results.failures[0]
