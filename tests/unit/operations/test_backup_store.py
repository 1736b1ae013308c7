"""The backups in BACKUP_DIR: listed, pruned and left alone."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from app.components import HealthCheck, ReportScope, Status
from app.crypto.signing import Signer
from app.operations.backups import manifest as manifests
from app.operations.backups import partial_backup, store
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import BackupHead, Manifest
from app.operations.backups.schedule import Schedule
from app.operations.backups.store import Verification
from app.settings import BackupSettings, Secret

SIGNER = Signer(Secret("k" * 32))
KEY = SIGNER.public_key
_DATA = b"data"


def _name(number: int) -> str:
    return f"2026112{number}T121314Z-{number:08x}"


def _manifest(name: str, signer: Signer = SIGNER, created_at: datetime | None = None) -> Manifest:
    bare = Manifest(
        format=1,
        name=name,
        created_at=created_at or datetime(2020, 11, int(name[7]), tzinfo=UTC),
        seconds=1.5,
        database="flagstone",
        migration="1795890000401-AddEnvironmentDeletionTriggers",
        heads=[BackupHead(name="local", epoch="e", revision=3, hash="ab")],
        tables={"flagstone.tokens": 2},
        postgres_version="18.4",
        dump_version=18,
        app_version="1",
        recipients=["age1x"],
        plain_bytes=4,
        bytes=len(_DATA),
        sha256="0" * 64,
        public_key=KEY,
    )
    return manifests.signed(bare, signer)


def _make(
    folder: Path, number: int, signer: Signer = SIGNER, created_at: datetime | None = None
) -> Path:
    backup = folder / _name(number)
    backup.mkdir(parents=True)
    (backup / store.DATA).write_bytes(_DATA)
    manifests.write(backup, _manifest(backup.name, signer, created_at))
    return backup


def _verified(folder: Path) -> None:
    store.store_verification(
        folder,
        Verification(at=datetime.now(UTC), restore_seconds=1.0, revisions=3, secrets="none"),
    )


def test_manifest_is_read_back_equal(tmp_path: Path) -> None:
    folder = _make(tmp_path, 1)

    stored = store.find(tmp_path, store.LATEST, KEY)

    assert stored.problem is None
    assert stored.manifest == _manifest(folder.name)
    assert (folder / manifests.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "1" * 64},
        {"bytes": 5},
        {"tables": {"flagstone.tokens": 1}},
        {"heads": [BackupHead(name="local", epoch="e", revision=2, hash="ab")]},
        {"migration": ""},
        {"created_at": datetime(2026, 11, 25, tzinfo=UTC)},
    ],
)
def test_edited_manifest_is_noticed(tmp_path: Path, change: dict[str, object]) -> None:
    folder = _make(tmp_path, 1)
    (folder / manifests.FILE).unlink()
    manifests.write(folder, msgspec.structs.replace(_manifest(folder.name), **change))

    problem = store.find(tmp_path, folder.name, KEY).problem or ""
    assert "the manifest was changed after it was signed" in problem


def test_manifest_of_another_backup_is_noticed(tmp_path: Path) -> None:
    one, other = _make(tmp_path, 1), _make(tmp_path, 2)
    (one / manifests.FILE).replace(other / manifests.FILE)

    assert "of another backup" in (store.find(tmp_path, other.name, KEY).problem or "")
    assert "has no manifest.json" in (store.find(tmp_path, one.name, KEY).problem or "")


def test_backup_of_other_installation_names_its_key(tmp_path: Path) -> None:
    stranger = Signer(Secret("s" * 32))
    folder = _make(tmp_path, 1, stranger)

    problem = store.find(tmp_path, folder.name, KEY).problem or ""

    assert "signed by another installation" in problem
    assert stranger.public_key in problem
    assert store.find(tmp_path, folder.name, stranger.public_key).problem is None
    with pytest.raises(BackupError, match="has no usable backup of this installation"):
        store.find(tmp_path, store.LATEST, KEY)


@pytest.mark.parametrize("text", ["", "{}", "\xff", "[" * 100_000])
def test_file_that_is_no_manifest_is_named(tmp_path: Path, text: str) -> None:
    folder = _make(tmp_path, 1)
    (folder / manifests.FILE).write_text(text, encoding="latin-1")

    assert "is damaged" in (store.find(tmp_path, folder.name, KEY).problem or "")


@pytest.mark.parametrize("name", ["../x", "20261124T121314Z", "", "latest/.."])
def test_backup_name_must_not_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackupError, match="NAME: must be latest, or a name"):
        store.find(tmp_path, name, KEY)


def test_pruning_retains_newest_verified_and_foreign_files(tmp_path: Path) -> None:
    folders = [_make(tmp_path, number) for number in range(1, 7)]
    _verified(folders[1])
    (folders[2] / store.DATA).write_bytes(b"cut")
    _make(tmp_path, 7, Signer(Secret("s" * 32)))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "other").mkdir()

    pruned = store.prune(tmp_path, KEY, keep=2)

    assert pruned.removed == [_name(4), _name(1)]
    assert [problem.split(":")[0] for problem in pruned.problems] == [_name(7), _name(3)]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([*(_name(n) for n in (2, 3, 5, 6, 7)), "notes.txt", "other"])
    assert store.prune(tmp_path, KEY, keep=2).removed == []


def test_latest_backup_is_by_time_and_not_in_the_future(tmp_path: Path) -> None:
    """A name comes from the clock of its process, which was wrong for two of these."""
    ahead = _make(tmp_path, 1, created_at=datetime.now(UTC) + timedelta(hours=2))
    newest = _make(tmp_path, 2, created_at=datetime.now(UTC) - timedelta(hours=1))
    old = _make(tmp_path, 7)

    assert [backup.folder for backup in store.list_all(tmp_path, KEY)] == [ahead, newest, old]
    assert store.find(tmp_path, store.LATEST, KEY).folder == newest
    assert store.find(tmp_path, ahead.name, KEY).problem is None
    pruned = store.prune(tmp_path, KEY, keep=1)
    assert pruned.removed == [old.name]
    assert [problem.partition(":")[0] for problem in pruned.problems] == [ahead.name]
    assert "in the future" in pruned.problems[0]


def _schedule(folder: Path, interval_seconds: float = 60) -> Schedule:
    return Schedule(
        BackupSettings(
            folder=folder,
            recipients=(),
            keep=2,
            interval_seconds=interval_seconds,
            verify_interval_seconds=0,
            verify_identity=None,
        ),
        Secret("k" * 32),
    )


def _check(schedule: Schedule) -> HealthCheck:
    return schedule.checks(ReportScope())["backups"]


async def test_failure_is_reported_until_a_newer_backup(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.write_text("no folder")
    schedule = _schedule(folder)

    for _ in range(2):
        await schedule.run_once()
        # The second run is too early for another attempt.
        assert (schedule.failure, schedule.failures) == ("not a directory", 1)
    check = _check(schedule)
    assert (check.status, check.output) == (Status.WARN, "the last attempt failed, see the log")

    folder.unlink()
    backup = _make(folder, 1, created_at=datetime.now(UTC))
    await schedule.run_once()

    check = _check(schedule)
    assert (check.status, check.output, check.observed_value) == (Status.PASS, None, 4)
    assert schedule.last is not None
    assert schedule.last.name == backup.name


async def test_schedule_waits_for_a_running_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A backup that starts in spite of the lock fails.
    monkeypatch.setenv("DATABASE_URL", "none")
    schedule = _schedule(tmp_path)
    last = _make(tmp_path, 1)
    _make(tmp_path, 2, created_at=datetime.now(UTC) + timedelta(days=1))

    with partial_backup.create(tmp_path):
        await schedule.run_once()

    assert schedule.last == _manifest(last.name)
    assert (schedule.failures, schedule.is_ahead, schedule.is_late) == (0, True, True)
    check = _check(schedule)
    assert (check.status, check.output) == (Status.WARN, "older than two intervals")
    # No new backup is made before the interval has passed.
    patient = _schedule(tmp_path, interval_seconds=1e9)
    await patient.run_once()
    check = _check(patient)
    assert (patient.failures, check.status) == (0, Status.WARN)
    assert "in the future" in (check.output or "")


def test_only_backup_is_not_pruned(tmp_path: Path) -> None:
    _make(tmp_path, 1)

    assert store.prune(tmp_path, KEY, keep=1).removed == []


def test_leftover_files_are_deleted_and_running_ones_stay(tmp_path: Path) -> None:
    left = tmp_path / f"{_name(1)}.partial"
    left.mkdir()
    with partial_backup.create(tmp_path) as busy:
        assert not left.exists()
        assert partial_backup.clean(tmp_path) == []
        assert busy.exists()
        assert store.list_all(tmp_path, KEY) == []
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_running_backup_excludes_other_processes(tmp_path: Path) -> None:
    with partial_backup.create(tmp_path) as busy:
        descriptor = os.open(busy, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
