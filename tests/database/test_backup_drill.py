"""The backup drill: what it reports, what it removes, and that one instance runs it."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.components import HealthCheck, ReportScope, Status
from app.crypto.identity import new_identity, parse_identity
from app.crypto.signing import Signer
from app.database.role_names import BACKUP
from app.operations.backups import disk_space, partial_backup, store
from app.operations.backups.data_reader import BackupSource
from app.operations.backups.drill import Drill
from app.operations.backups.dump import BackupRequest, create_backup
from app.operations.backups.errors import BackupError
from app.operations.backups.store import Verification
from app.operations.backups.verification import verify_backup
from app.secrets.vault import Vault
from app.settings import Secret, load
from tests.conftest import Server
from tests.processes import children_with, has_ended
from tests.waiting import HANG_SECONDS

KEY = Secret("k" * 32)
_TEXT, _RECIPIENT = new_identity(datetime.now(UTC))
_MIB = 1024 * 1024

MakeDrill = Callable[..., Drill]


@pytest.fixture(scope="module")
def backup(server: Server, open_folder: Path) -> Path:
    """Return the folder of a backup. The tests copy it."""
    name = server.create_database("drilled", template="flagstone")
    request = BackupRequest(
        target=server.target(BACKUP, name),
        settings=load({}).database,
        folder=open_folder / "drilled",
        recipients=[_RECIPIENT],
        signer=Signer(KEY),
    )
    manifest = create_backup(request, lambda *_: None)
    server.drop_database(name)
    return request.folder / manifest.name


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder for temporary servers."""
    with tempfile.TemporaryDirectory(prefix="drill-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield folder


@pytest.fixture
def small_disk(temporary: Path) -> Iterator[Callable[[int], None]]:
    """Yield a function that mounts a disk of a given size on the folder for temporary servers."""
    mounted = []

    def mount(size: int) -> None:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(temporary)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            pytest.skip("this account may not mount a disk of a limited size")
        mounted.append(temporary)

    yield mount
    for folder in mounted:
        # This process has the lock of the last temporary server open until it ends.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def make(
    backup: Path, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeDrill:
    """Return a function that makes a drill for a folder with a copy of the backup."""
    shutil.copytree(backup, tmp_path / "backups" / backup.name)
    identity = tmp_path / "identity"
    identity.write_text(_TEXT)
    environ = {
        "BACKUP_DIR": str(tmp_path / "backups"),
        "BACKUP_VERIFY_IDENTITY": str(identity),
        "DATA_DIR": str(tmp_path / "data"),
        "TMPDIR": str(temporary),
        "TOKEN_KEY": KEY.reveal(),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def drill(interval: float = 86_400, instance: str = "one") -> Drill:
        settings = {"BACKUP_VERIFY_INTERVAL": str(interval), "INSTANCE_ID": instance}
        return Drill(load({**environ, **settings}), KEY)

    return drill


def _check(drill: Drill) -> HealthCheck:
    return drill.checks(ReportScope())["backups:drill"]


def _metrics(drill: Drill) -> str:
    class _Collector:
        collect = staticmethod(drill.metrics)

    registry = CollectorRegistry()
    registry.register(_Collector())
    return generate_latest(registry).decode()


async def _started_server(temporary: Path) -> psutil.Process:
    """Wait for the temporary server of a drill, and return its process.

    Only the limit of the test ends it: with the lowest priority, a drill may take minutes.
    """
    while not (pids := _server_pids(temporary)):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return psutil.Process(pids[0])


def _server_pids(temporary: Path) -> list[int]:
    files = temporary.glob("flagstone-verify-*/pg*/postmaster.pid")
    first_lines = [file.read_text().split()[:1] for file in files]
    # While initdb runs, the number is negative.
    return [int(line) for lines in first_lines for line in lines if int(line) > 0]


def _children() -> list[psutil.Process]:
    """Return the processes of drills. The server of the tests is a child too."""
    return children_with("verify", psutil.Process())


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.slow
async def test_drill_restores_the_backup_and_reports_it(
    make: MakeDrill, temporary: Path, tmp_path: Path
) -> None:
    drill = make()

    for _ in range(2):  # the second run is not due
        await drill.run_once()

    check, text = _check(drill), _metrics(drill)
    assert (check.status, check.output, check.observed_unit) == (Status.PASS, None, "s")
    assert check.age_seconds is not None
    assert drill.runs == {"success": 1, "failure": 0}
    assert 'flagstone_backup_drills_total{outcome="success"} 1.0' in text
    assert "flagstone_backup_drill_is_good 1.0" in text
    assert "flagstone_backup_drill_last_success_timestamp_seconds" in text
    assert "flagstone_backup_drill_last_duration_seconds" in text
    assert _names(temporary) == []
    (stored,) = store.list_all(tmp_path / "backups", Signer(KEY).public_key)
    assert stored.verification is not None


@pytest.mark.slow
async def test_drill_of_a_changed_backup_fails(
    make: MakeDrill, backup: Path, tmp_path: Path, temporary: Path
) -> None:
    data = tmp_path / "backups" / backup.name / store.DATA
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    drill = make()

    for _ in range(2):  # the second run is too early for another attempt
        await drill.run_once()

    check, text = _check(drill), _metrics(drill)
    assert drill.last is not None
    assert "was changed" in (drill.last.problem or "")
    assert (check.status, drill.runs) == (Status.WARN, {"success": 0, "failure": 1})
    assert check.output == "the last drill failed, see drill.json in BACKUP_DIR"
    assert "flagstone_backup_drill_is_good 0.0" in text
    assert _names(temporary) == []

    # A verification by an operator counts.
    store.store_verification(
        data.parent,
        Verification(at=datetime.now(UTC), restore_seconds=1, revisions=0, secrets="none"),
    )
    await drill.run_once()
    assert _check(drill).status is Status.PASS


async def test_drill_does_not_skip_a_damaged_newest_backup(
    make: MakeDrill, backup: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "backups" / "20991231T000000Z-00000000"
    shutil.copytree(backup, newer)
    drill = make()

    await drill.run_once()

    assert drill.last is not None
    assert (drill.last.backup, drill.last.problem is None) == (newer.name, False)


async def test_drill_without_a_backup_warns(make: MakeDrill, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "backups")
    drill = make()

    await drill.run_once()

    check = _check(drill)
    assert (check.status, check.output) == (Status.WARN, "there is no backup to verify")
    assert sum(drill.runs.values()) == 0


async def test_drill_waits_for_a_running_backup(make: MakeDrill, tmp_path: Path) -> None:
    drill = make()

    with partial_backup.create(tmp_path / "backups"):
        await drill.run_once()

    assert sum(drill.runs.values()) == 0


async def test_old_success_is_overdue(make: MakeDrill, backup: Path, tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=3)
    store.store_verification(
        tmp_path / "backups" / backup.name,
        Verification(at=long_ago, restore_seconds=1, revisions=0, secrets="none"),
    )
    drill = make(interval=3600)

    with partial_backup.create(tmp_path / "backups"):
        await drill.run_once()

    check = _check(drill)
    assert (check.status, check.output) == (
        Status.WARN,
        "the last success is older than two intervals",
    )


@pytest.mark.slow
async def test_instances_with_one_folder_run_one_drill(make: MakeDrill) -> None:
    drills = [make(instance=name) for name in ("one", "two", "three")]

    await asyncio.gather(*(drill.run_once() for drill in drills))
    await asyncio.gather(*(drill.run_once() for drill in drills))

    assert sum(drill.runs["success"] for drill in drills) == 1
    assert {_check(drill).status for drill in drills} == {Status.PASS}
    assert len({drill.last and drill.last.instance for drill in drills}) == 1


@pytest.mark.slow
async def test_killed_drill_is_reported_and_removed(make: MakeDrill, temporary: Path) -> None:
    drill = make()
    running = asyncio.create_task(drill.run_once())

    server = await _started_server(temporary)
    (child,) = _children()
    assert (child.nice(), server.nice()) == (19, 19)
    os.kill(child.pid, signal.SIGKILL)
    await running

    assert drill.last is not None
    assert drill.last.problem == "backup verify was killed by signal 9"
    assert _check(drill).status is Status.WARN
    assert _names(temporary) == []
    assert has_ended(server)
    # The lock went with the process: another instance can run the next drill.
    (Path(os.environ["BACKUP_DIR"]) / "drill.json").unlink()
    other = make()
    await other.run_once()
    assert other.runs == {"success": 1, "failure": 0}


@pytest.mark.slow
async def test_cancelled_drill_ends_its_processes(
    make: MakeDrill, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the lowest priority, stopping its server and removing its files may take minutes.
    monkeypatch.setattr("app.operations.backups.child.END_SECONDS", HANG_SECONDS)
    drill = make()
    running = asyncio.create_task(drill.run_once())

    await _started_server(temporary)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert _names(temporary) == []
    assert _children() == []
    assert sum(drill.runs.values()) == 0


@pytest.mark.slow
async def test_drill_without_space_is_refused(
    make: MakeDrill, temporary: Path, small_disk: Callable[[int], None]
) -> None:
    small_disk(64 * _MIB)
    drill = make()

    await drill.run_once()

    assert drill.last is not None
    assert f"MiB in {temporary}, which has 64 MiB free" in (drill.last.problem or "")
    assert _names(temporary) == []


def test_restore_stops_before_the_disk_is_full(
    backup: Path, temporary: Path, small_disk: Callable[[int], None]
) -> None:
    small_disk(disk_space.RESERVE_BYTES + 256 * _MIB)
    manifest = store.find(backup.parent, backup.name, Signer(KEY).public_key).manifest
    assert manifest is not None
    source = BackupSource(folder=backup, manifest=manifest, identity=parse_identity(_TEXT))

    def fill(*_: int) -> None:
        with (temporary / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 240 * _MIB)

    with pytest.raises(BackupError, match="the restore needs at least 128 MiB"):
        verify_backup(source, load({}), Vault(None), fill)

    assert _names(temporary) == ["ballast"]
