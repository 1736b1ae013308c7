"""The doctor's findings for clock, disk and backups, and the worst of several findings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.crypto.signing import Signer
from app.operations.backups import manifest as manifests
from app.operations.backups import store
from app.operations.backups.manifest import Manifest
from app.operations.backups.store import Verification
from app.operations.doctor.findings import (
    FindingVerdict,
    absent,
    failed,
    first_few,
    passed,
    warned,
    worst,
)
from app.operations.doctor.host_checks import check_backups, disk_finding
from app.operations.doctor.installation import Installation
from app.operations.doctor.server_checks import clock_finding
from app.settings import Secret, load

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.0, FindingVerdict.PASS),
        (-0.9, FindingVerdict.PASS),
        (1.1, FindingVerdict.WARN),
        (-29.0, FindingVerdict.WARN),
        (31.0, FindingVerdict.FAIL),
        (-3_600.0, FindingVerdict.FAIL),
    ],
)
def test_clock_check_judges_the_offset_in_both_directions(
    difference: float, verdict: FindingVerdict
) -> None:
    finding = clock_finding(difference, 0.002)

    assert finding.verdict is verdict
    assert f"{difference * 1000:+.1f} ms from ours, by a round trip of 2.0 ms" == finding.text


@pytest.mark.parametrize(
    ("free", "verdict"),
    [
        (255, FindingVerdict.FAIL),
        (256, FindingVerdict.WARN),
        (2047, FindingVerdict.WARN),
        (2048, FindingVerdict.PASS),
    ],
)
def test_disk_check_judges_the_free_space(free: int, verdict: FindingVerdict) -> None:
    finding = disk_finding(free * MIB, 10_000 * MIB, Path("/data"))

    assert (finding.verdict, finding.text) == (verdict, f"{free} MiB free of 10000 in /data")


def test_worst_finding_counts_and_absent_ones_do_not() -> None:
    fine, unseen = passed("a", "fine"), absent("b", "there is none")

    assert worst([]) is worst([fine, unseen]) is FindingVerdict.PASS
    assert worst([fine, warned("c", "odd"), unseen]) is FindingVerdict.WARN
    assert worst([warned("c", "odd"), failed("d", "broken"), fine]) is FindingVerdict.FAIL
    assert unseen.text == "because there is none"


def _back_up(folder: Path, age: timedelta, *, key: str = "k" * 32, size: int = 4) -> Path:
    created_at = datetime.now(UTC) - age
    name = f"{created_at:%Y%m%dT%H%M%SZ}-00000000"
    backup = folder / name
    backup.mkdir(parents=True)
    (backup / store.DATA).write_bytes(b"data")
    manifest = Manifest(
        format=1,
        name=name,
        created_at=created_at,
        seconds=1.5,
        database="flagstone",
        migration="1795890000401-AddEnvironmentDeletionTriggers",
        heads=[],
        tables={},
        postgres_version="18.4",
        dump_version=18,
        app_version="1",
        recipients=["age1x"],
        plain_bytes=4,
        bytes=size,
        sha256="0" * 64,
        public_key="A" * 43,
    )
    manifests.write(backup, manifests.signed(manifest, Signer(Secret(key))))
    return backup


def _prove(folder: Path, age: timedelta) -> None:
    at = datetime.now(UTC) - age
    store.store_verification(
        folder, Verification(at=at, restore_seconds=2.5, revisions=3, secrets="none")
    )


async def _backups(folder: Path, **environ: str) -> dict[str, tuple[FindingVerdict, str]]:
    settings = load({"DATA_DIR": str(folder.parent), "TOKEN_KEY": "k" * 32, **environ})
    findings = await check_backups(Installation(settings=settings))
    return {finding.name: (finding.verdict, finding.text) for finding in findings}


async def test_missing_backup_fails_if_backups_are_scheduled(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    _back_up(folder, timedelta(hours=1), key="l" * 32)

    by_nobody = await _backups(folder)
    by_schedule = await _backups(folder, BACKUP_INTERVAL="3600")

    text = f"no usable backup of this installation in {folder}, out of 1"
    assert by_nobody == {"backups": (FindingVerdict.ABSENT, f"because there is {text}")}
    assert by_schedule == {"backups": (FindingVerdict.FAIL, text)}


async def test_backup_check_judges_age_and_verification(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    old = _back_up(folder, timedelta(days=5))
    unproven = await _backups(folder)
    _prove(old, timedelta(days=40))
    proven_long_ago = await _backups(folder)
    newest = _back_up(folder, timedelta(hours=3))
    _prove(newest, timedelta(hours=2))
    fine = await _backups(folder, BACKUP_INTERVAL="7200")
    late = await _backups(folder, BACKUP_INTERVAL="3600")
    _back_up(folder, timedelta(minutes=1), size=5)
    damaged = await _backups(folder)

    assert unproven["backups"] == (
        FindingVerdict.WARN,
        f"{old.name}, 5 days old, 4 bytes: above 2 days",
    )
    assert unproven["proven backups"][0] is FindingVerdict.WARN
    assert "1 backup, none was ever restored" in unproven["proven backups"][1]
    assert proven_long_ago["proven backups"] == (
        FindingVerdict.WARN,
        "one was restored 40 days ago, in 2.5 s: `python -m app backup verify` restores one",
    )
    assert fine == {
        "backups": (FindingVerdict.PASS, f"{newest.name}, 3.0 h old, 4 bytes"),
        "proven backups": (FindingVerdict.PASS, "one was restored 2.0 h ago, in 2.5 s"),
    }
    assert late["backups"][0] is FindingVerdict.WARN
    assert damaged["backups"][0] is FindingVerdict.PASS
    assert damaged["damaged backups"][0] is FindingVerdict.WARN
    assert "has 4 bytes instead of 5" in damaged["damaged backups"][1]


def test_long_list_of_names_is_shortened() -> None:
    assert first_few(["a", "b"]) == "a, b"
    assert first_few([*"abcdefgh"], "; ") == "a; b; c; d; e; and 3 more"
