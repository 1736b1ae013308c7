"""The state on disk: a damaged file is skipped for an older one."""

import os
import resource
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from app.access.models import Grant, Scope, Token
from app.configuration.snapshots import disk_writer
from app.configuration.snapshots.disk import FOLDER, GENERATIONS, Disk, SavedEnvironment, State
from app.configuration.snapshots.disk_writer import DiskWriter, Served
from app.configuration.snapshots.snapshot import Configuration, Snapshot, build
from app.crypto.box import Box
from app.crypto.derivation import Purpose, derive
from app.environments.models import Environment
from app.settings import Secret, Tier
from tests.waiting import HANG_SECONDS

KEY = Secret("k" * 32)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ODD = [1.0, -0.5, 2**53, 1e300, "é𝄞\x7f", None, {"a": [True]}]


def state(revision: int) -> State:
    environment = Environment(
        name="local",
        tier="local",
        revision=revision,
        epoch="e",
        hash="00",
        protected=False,
        fractional="v3",
        metadata={},
    )
    entry = Configuration(
        environment="local",
        key="k",
        kind="setting",
        value=ODD,
        schema={"type": "array"},
        description=None,
        version=revision,
        updated_revision=revision,
        created_at=NOW,
        updated_at=NOW,
    )
    grant = Grant(scopes=frozenset(Scope), environments=frozenset({"*"}), expires_at=NOW)
    token = Token(id="t", name="n", mac=bytes(range(32)), grant=grant)
    return State(
        environments=[SavedEnvironment(environment=environment, entries=[entry])], tokens=[token]
    )


def written(revision: int) -> list[bytes]:
    return [msgspec.json.encode(state(revision))]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    opened = Disk(tmp_path, KEY, Tier.LOCAL)
    assert opened.acquire()
    return opened


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / FOLDER).glob("*.snapshot"))


def revision(disk: Disk) -> int | None:
    loaded = disk.read()
    return loaded.state.environments[0].environment.revision if loaded else None


def test_snapshot_is_read_back_equal(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))

    loaded = disk.read()

    assert loaded is not None
    assert loaded.state == state(1)
    assert loaded.age_seconds < HANG_SECONDS
    assert files(tmp_path)[0].stat().st_mode & 0o777 == 0o600
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("environments", "entries"), [(0, 0), (1, 0), (2, 1), (2, 700)])
def test_stored_bytes_of_snapshots_are_read_back_equal(
    disk: Disk, environments: int, entries: int
) -> None:
    """With 700 entries an environment has several portions."""
    saved = state(1).environments[0]
    names = [f"e{number}" for number in range(environments)]
    configurations = [
        msgspec.structs.replace(saved.entries[0], key=f"k{number:03}") for number in range(entries)
    ]
    snapshots = {
        name: build(msgspec.structs.replace(saved.environment, name=name), configurations)
        for name in names
    }
    tokens = {token.id: token for token in state(1).tokens}

    DiskWriter(disk).write(
        Served(
            heads={name: snapshot.environment for name, snapshot in snapshots.items()},
            snapshots=snapshots,
            tokens=tokens,
        )
    )

    loaded = disk.read()
    assert loaded is not None
    assert [of_one.environment.name for of_one in loaded.state.environments] == names
    complete = [disk.complete(of_one) for of_one in loaded.state.environments]
    assert all(sorted_entries(of_one) == configurations for of_one in complete)
    assert loaded.state.tokens == state(1).tokens


def sorted_entries(saved: SavedEnvironment) -> list[Configuration]:
    return sorted(saved.entries, key=lambda entry: entry.key)


def snapshot_of(keys: Iterable[int], revision: int = 1) -> Snapshot:
    saved = state(revision).environments[0]
    entries = [msgspec.structs.replace(saved.entries[0], key=f"k{key:03}") for key in keys]
    return build(saved.environment, entries)


def changed(snapshot: Snapshot, put: Iterable[int], removed: Iterable[int] = ()) -> Snapshot:
    revision = snapshot.revision + 1
    head = msgspec.structs.replace(snapshot.environment, revision=revision)
    entry = state(revision).environments[0].entries[0]
    entries = [(f"k{key:03}", msgspec.structs.replace(entry, key=f"k{key:03}")) for key in put]
    return snapshot.advanced(head, [*entries, *((f"k{key:03}", None) for key in removed)])


def served(*snapshots: Snapshot, absent: Iterable[Environment] = ()) -> Served:
    by_name = {snapshot.environment.name: snapshot for snapshot in snapshots}
    heads = {name: snapshot.environment for name, snapshot in by_name.items()}
    return Served(heads=heads | {head.name: head for head in absent}, snapshots=by_name, tokens={})


def of_local(disk: Disk) -> list[Configuration]:
    saved = disk.read_environment("local")
    assert saved is not None
    return sorted_entries(saved.state.environments[0])


def stored_entries(snapshot: Snapshot) -> list[Configuration]:
    return [entry.configuration for entry in snapshot.entries.values()]


def entry_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / FOLDER).glob("*.entries"))


def test_small_change_writes_no_file_of_entries(disk: Disk, tmp_path: Path) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(700))
    writer.write(served(first))
    before = entry_files(tmp_path)
    second = changed(first, put=[3, 900], removed=[5])
    third = changed(second, put=[3, 4], removed=[900])

    writer.write(served(second))
    writer.write(served(third))

    assert entry_files(tmp_path) == before
    assert of_local(disk) == stored_entries(third)


def test_old_list_goes_without_another_file_of_entries(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_writer, "OLD_LISTS_SECONDS", 0.0)
    writer, first = DiskWriter(disk), snapshot_of(range(700))
    writer.write(served(first))
    old = tmp_path / FOLDER / "old.list"
    old.touch()
    os.utime(old, (0, 0))

    writer.write(served(changed(first, put=[3])))

    assert not old.exists()


def test_large_change_replaces_the_file_of_entries(disk: Disk, tmp_path: Path) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(700))
    writer.write(served(first))
    second = changed(first, put=range(100))

    for _ in range(GENERATIONS):
        writer.write(served(second))

    assert of_local(disk) == stored_entries(second)
    writer.write(served(changed(second, put=range(100))))
    assert [name.rpartition(".")[0] for name in entry_files(tmp_path)] == [
        "local.e.2",
        "local.e.3",
    ]


def test_torn_file_of_entries_falls_back_to_an_older(disk: Disk, tmp_path: Path) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(700))
    writer.write(served(first))
    writer.write(served(changed(first, put=range(100))))
    latest = tmp_path / FOLDER / entry_files(tmp_path)[-1]
    latest.write_bytes(latest.read_bytes()[:-1])

    assert of_local(disk) == stored_entries(first)


def test_dropped_environment_keeps_its_entries_on_disk(disk: Disk) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(700))
    second = changed(first, put=[1])
    writer.write(served(first))
    writer.write(served(second))

    writer.write(served(absent=[second.environment]))

    assert of_local(disk) == stored_entries(second)
    assert writer.missing(served(absent=[second.environment])) == []


def test_entries_on_disk_say_since_when_they_are_behind(disk: Disk) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(3))
    writer.write(served(first))
    later = served(absent=[changed(first, put=[1]).environment])

    writer.write(later)

    saved = disk.read()
    assert saved is not None
    assert saved.state.environments[0].behind_since is not None
    assert saved.state.environments[0].environment == first.environment
    assert writer.missing(later) == ["local"]


def test_copied_entries_are_a_part_of_the_next_generation(disk: Disk) -> None:
    writer, first = DiskWriter(disk), snapshot_of(range(3))
    absent = served(absent=[first.environment])
    writer.write(absent)
    before = disk.read_environment("local")
    writer.write_lines(first.environment, [entry.body for entry in first.entries.values()])

    writer.write(absent)

    assert before is None
    assert of_local(disk) == stored_entries(first)


def test_new_process_uses_the_files_of_entries_again(disk: Disk, tmp_path: Path) -> None:
    first = snapshot_of(range(3))
    DiskWriter(disk).write(served(first))
    path = tmp_path / FOLDER / entry_files(tmp_path)[0]
    written_at = path.stat().st_mtime_ns

    DiskWriter(disk).write(served(first))
    DiskWriter(disk).write(served(absent=[first.environment]))

    assert path.stat().st_mtime_ns == written_at
    assert of_local(disk) == stored_entries(first)


def test_deleted_environment_leaves_no_file(disk: Disk, tmp_path: Path) -> None:
    writer = DiskWriter(disk)
    writer.write(served(snapshot_of(range(3))))

    writer.write(served())

    assert entry_files(tmp_path) == []
    assert disk.read_environment("local") is None
    assert len(files(tmp_path)) == 1


def test_generation_of_an_earlier_release_is_read(disk: Disk, tmp_path: Path) -> None:
    """It has another first line, all entries, and none of the new members."""
    earlier = {
        "environments": [
            {"environment": saved.environment, "entries": saved.entries}
            for saved in state(4).environments
        ],
        "tokens": state(4).tokens,
        "relay_key": None,
    }
    magic = b"flagstone-snapshot-1\n"
    box = Box(derive(KEY, Purpose.DISK_SNAPSHOTS))
    closed = box.close(msgspec.json.encode(earlier), magic + Tier.LOCAL.encode())
    (tmp_path / FOLDER / "000000000007.snapshot").write_bytes(magic + closed)

    assert revision(disk) == 4
    assert of_local(disk) == state(4).environments[0].entries


def test_nothing_can_be_read_where_nothing_was_written(disk: Disk, tmp_path: Path) -> None:
    assert disk.read() is None
    assert Disk(tmp_path / "missing", KEY, Tier.LOCAL).read() is None


def test_disk_retains_the_last_three_snapshots(disk: Disk, tmp_path: Path) -> None:
    for n in range(1, 6):
        disk.write(written(n))

    assert revision(disk) == 5
    assert len(files(tmp_path)) == GENERATIONS
    assert list((tmp_path / FOLDER).glob("*.draft")) == []


def test_nothing_readable_is_in_the_file(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))

    raw = files(tmp_path)[0].read_bytes()

    assert b"local" not in raw
    assert bytes(range(32)) not in raw


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:0],
        lambda raw: raw[:10],
        lambda raw: raw[:40],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw.replace(b"snapshot-2", b"snapshot-3"),
        lambda raw: os.urandom(len(raw)),
    ],
)
def test_torn_or_foreign_file_falls_back_to_the_previous(
    disk: Disk, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    disk.write(written(1))
    disk.write(written(2))
    latest = files(tmp_path)[-1]
    latest.write_bytes(spoil(latest.read_bytes()))

    assert revision(disk) == 1


def test_any_flipped_bit_is_noticed(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))
    path = files(tmp_path)[0]
    raw = path.read_bytes()

    for place in range(len(raw)):
        turned = bytearray(raw)
        turned[place] ^= 1 << (place % 8)
        path.write_bytes(turned)
        assert disk.read() is None, place


def test_another_key_or_tier_opens_nothing(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))

    assert Disk(tmp_path, Secret("o" * 32), Tier.LOCAL).read() is None
    assert Disk(tmp_path, KEY, Tier.PRODUCTION).read() is None
    assert revision(Disk(tmp_path, KEY, Tier.LOCAL)) == 1


def test_one_process_at_a_time_looks_after_the_folder(disk: Disk, tmp_path: Path) -> None:
    other = Disk(tmp_path, KEY, Tier.LOCAL)

    refused = other.acquire()
    disk.release()

    assert (refused, other.acquire()) == (False, True)


def test_full_disk_leaves_existing_snapshots(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            disk.write(written(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert revision(disk) == 1
    assert list((tmp_path / FOLDER).glob("*.draft")) == []
    disk.write(written(3))
    assert revision(disk) == 3


def test_confirming_makes_it_young_again(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))
    os.utime(files(tmp_path)[0], (0, 0))
    old = disk.read()
    disk.confirm()
    young = disk.read()

    assert old is not None
    assert young is not None
    assert (old.age_seconds > 1e9, young.age_seconds < HANG_SECONDS) == (True, True)


def test_removed_folder_is_created_again(disk: Disk, tmp_path: Path) -> None:
    disk.write(written(1))
    shutil.rmtree(tmp_path / FOLDER)

    confirmed = disk.confirm()
    claimed = disk.acquire()
    disk.write(written(2))

    assert (confirmed, claimed, revision(disk)) == (False, True, 2)
