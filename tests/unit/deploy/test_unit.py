"""The systemd unit is valid, hardened, and has the limits of the service."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.server.workers import stop_seconds_max
from app.settings import Tier, load
from app.settings.variables import VARIABLES
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

UNIT = ROOT / "deploy/flagstone.service"
EXPOSURE_MAX = 2.0
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit, with a command that exists on this machine."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub("(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text()))
    return copy


def _analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        capture_output=True,
        check=False,
        text=True,
        timeout=HANG_SECONDS,
    )


@needs_systemd
def test_unit_has_no_mistake(unit: Path) -> None:
    outcome = _analyze("verify", "--man=no", unit)

    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


@needs_systemd
def test_unit_has_low_exposure(unit: Path) -> None:
    outcome = _analyze("security", "--offline=yes", "--no-pager", unit)

    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", outcome.stdout)

    assert exposure, outcome
    assert float(exposure[1]) < EXPOSURE_MAX


def test_unit_waits_for_the_whole_stop() -> None:
    text = UNIT.read_text()
    limit = re.search("(?m)^TimeoutStopSec=([0-9]+)$", text)
    (drain,) = (v for v in VARIABLES if v.name == "DRAIN_SECONDS")
    settings = load({"DRAIN_SECONDS": str(drain.default_for(Tier.PRODUCTION))})

    assert limit
    assert int(limit[1]) > stop_seconds_max(settings.http) + 5


def test_unit_loads_the_secrets_that_it_names() -> None:
    text = UNIT.read_text()

    loaded = re.findall("(?m)^LoadCredentialEncrypted=(.*)$", text)

    assert sorted(loaded) == sorted(re.findall("_FILE=%d/(.*)", text))
