"""The follower serves the stored state within seconds, or reports the age of its state."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.access.directory import TokenDirectory
from app.access.guard import TOKENS
from app.components import ReportScope, Status
from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.own_changes import OwnChange
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import STALE_AFTER_SECONDS
from app.database import Database
from app.database.client.primary import AsyncpgConnection
from app.database.client.session_setup import prepare_connection
from app.environments.models import Environment
from app.errors import Unavailable
from app.http.keys import DATABASE
from app.settings import Secret, Settings, Target
from tests.conftest import Admin, Server, Service, clean, serving
from tests.waiting import HANG_SECONDS

PLACE = "/v1/environments/local"


@pytest.fixture
async def replica(service: Service, settings: Settings) -> AsyncIterator[Service]:
    """A second instance on the same database."""
    del service
    async with serving(replace(settings, instance="replica")) as other:
        yield other


async def _write(service: Service, key: str, value: object = 1) -> int:
    return await _put(service, key, {"value": value})


async def _put(service: Service, key: str, body: dict[str, Any]) -> int:
    answer = await service.client.put(
        f"{PLACE}/configurations/{key}", json=body, headers={"If-None-Match": "*"}
    )
    return int((await answer.json())["revision"])


async def _set(service: Service, key: str, value: object) -> None:
    """Write without HTTP, so without waiting until the write is served."""
    content = Content(kind=Kind.SETTING, value=value)
    operation = Operation(key=key, content=content, expected=None)
    await service.app[DATABASE].transact(
        lambda c: changes.apply(c, "local", [operation], actor="test", authority=OPERATOR_AUTHORITY)
    )


async def test_write_is_read_on_another_instance_at_its_revision(
    service: Service, replica: Service
) -> None:
    for n in range(10):
        revision = await _write(service, f"k{n}", n)

        read = await replica.client.get(
            f"{PLACE}/configurations/k{n}", params={"min_revision": str(revision)}
        )

        assert (read.status, (await read.json())["value"]) == (200, n)
        epoch, _, served = read.headers["Flagstone-Revision"].partition(":")
        assert (len(epoch), int(served) >= revision) == (36, True)


@pytest.mark.slow
async def test_revision_that_does_not_arrive_is_503(service: Service) -> None:
    answer = await service.client.get(f"{PLACE}/configurations", params={"min_revision": "99"})
    wrong = await service.client.get(f"{PLACE}/configurations", params={"min_revision": "-1"})

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert (await answer.json(content_type=None))["code"] == "revision_not_reached"
    assert wrong.status == 400


async def test_change_without_a_notification_is_polled(service: Service, server: Server) -> None:
    """A notification can be lost."""
    follower = service.app[FOLLOWER]
    with server.admin("suite") as connection:
        connection.execute("set search_path = flagstone")
        connection.execute("update environments set revision = 1 where name = 'local'")
        connection.execute(
            "insert into change_sets (environment, revision, kind, actor) "
            "values ('local', 1, 'edit', 'by hand')"
        )
        connection.execute(
            "insert into configurations (environment, key, kind, value, version, updated_revision) "
            "values ('local', 'silent', 'setting', '1', 1, 1)"
        )
        connection.execute(
            "insert into changes "
            "(environment, revision, key, after_kind, after_value, after_version) "
            "values ('local', 1, 'silent', 'setting', '1', 1)"
        )

    snapshot = await follower.at_least("local", 1, seconds=HANG_SECONDS)

    assert snapshot.entries["silent"].configuration.value == 1


async def test_killed_listener_reconnects_and_misses_nothing(
    service: Service, replica: Service, server: Server
) -> None:
    for n in range(3):
        with server.admin("suite") as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = 'suite' and query like 'LISTEN%' and pid <> pg_backend_pid()"
            )
        revision = await _write(service, f"after/{n}")

        snapshot = await replica.app[FOLLOWER].at_least("local", revision, seconds=HANG_SECONDS)

        assert f"after/{n}" in snapshot.entries


@pytest.mark.parametrize("written_since", [0, 1, 2])
async def test_restored_database_is_a_new_epoch(
    service: Service, cleaner: Admin, idle_follower: Follower, written_since: int
) -> None:
    """A restore without a new epoch, then writes until the revisions are equal."""
    follower = idle_follower
    await _write(service, "lost")
    await follower.refresh()
    before = follower.get("local")
    tag = (await service.client.get(f"{PLACE}/configurations/lost")).headers["ETag"]
    await asyncio.to_thread(clean, cleaner, epoch=before.epoch)
    for n in range(written_since):
        await _set(service, "lost", f"other {n}")

    await follower.refresh()

    after = follower.get("local")
    with service.using(FOLLOWER, follower):
        read = await service.client.get(
            f"{PLACE}/configurations/lost", headers={"If-None-Match": tag}
        )
    assert (before.revision, after.revision) == (1, written_since)
    assert after.epoch != before.epoch
    assert read.status == (200 if written_since else 404)


def _replacements(follower: Follower) -> float:
    """Return how often the history of local was replaced."""
    samples = [sample for metric in follower.metrics() for sample in metric.samples]
    (count,) = [
        sample.value
        for sample in samples
        if sample.name == "flagstone_history_replacements_total"
        and sample.labels["environment"] == "local"
    ]
    return count


async def test_replaced_history_is_a_warning(
    service: Service,
    cleaner: Admin,
    idle_follower: Follower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failover to a standby that lacks the last commit, and then a write on it."""
    monkeypatch.setattr("app.configuration.snapshots.replacements.REPORTED_SECONDS", HANG_SECONDS)
    await _write(service, "lost")
    await idle_follower.refresh()
    epoch = idle_follower.get("local").epoch
    await asyncio.to_thread(clean, cleaner, epoch=epoch)
    await idle_follower.refresh()

    check = idle_follower.checks(ReportScope())["snapshot:local"]

    assert check.status is Status.WARN
    assert check.output is not None
    assert "revision 0 of a new epoch follows revision 1" in check.output
    assert _replacements(idle_follower) == 1


async def test_environment_that_is_created_again_replaces_no_history(
    service: Service, idle_follower: Follower
) -> None:
    """This instance notices the deletion and the creation together."""
    await _write(service, "setting")
    await idle_follower.refresh()
    before = idle_follower.get("local")
    async with service.client.delete(PLACE, headers={"If-Match": "*"}) as answer:
        assert answer.status == 200, await answer.text()
    body = {"name": "local", "tier": "local"}
    async with service.client.post("/v1/environments", json=body) as answer:
        assert answer.status == 201, await answer.text()

    await idle_follower.refresh()

    assert idle_follower.get("local").epoch != before.epoch
    assert _replacements(idle_follower) == 0


async def test_answer_says_how_long_it_is_unconfirmed(service: Service) -> None:
    follower = service.app[FOLLOWER]
    fresh = await service.client.get(PLACE)
    confirmed_at = time.monotonic() - STALE_AFTER_SECONDS - 37
    # A poll would confirm the snapshots.
    async with follower.refreshing:
        follower.adopt(follower.loaded(), confirmed_at=confirmed_at)
        stale = await service.client.get(PLACE)
        report = await (await service.client.get("/health")).json(content_type=None)
    await follower.refresh()
    again = await service.client.get(PLACE)

    assert "Flagstone-Stale" not in fresh.headers
    assert STALE_AFTER_SECONDS + 37 <= int(stale.headers["Flagstone-Stale"]) < HANG_SECONDS
    assert report["checks"]["snapshot:local"][0]["status"] == "warn"
    assert "Flagstone-Stale" not in again.headers


@pytest.mark.slow
async def test_large_change_set_arrives_whole(service: Service, replica: Service) -> None:
    """No reader may see half of a change set."""
    keys = [f"many/{n}" for n in range(500)]

    async def write(value: int) -> int:
        operations = [
            Operation(key=key, content=Content(kind=Kind.SETTING, value=value), expected=None)
            for key in keys
        ]
        applied = await service.app[DATABASE].transact(
            lambda c: changes.apply(
                c, "local", operations, actor="test", authority=OPERATOR_AUTHORITY
            )
        )
        return applied.revision

    async def read() -> set[int]:
        values: set[int] = set()
        while not done.is_set():
            snapshot = replica.app[FOLLOWER].get("local")
            served_values = {
                snapshot.entries[k].configuration.value for k in keys if k in snapshot.entries
            }
            assert len(served_values) <= 1
            values |= served_values
            await asyncio.sleep(0)
        return values

    done = asyncio.Event()
    reading = asyncio.create_task(read())
    revisions = [await write(value) for value in range(5)]
    await replica.app[FOLLOWER].at_least("local", revisions[-1], seconds=HANG_SECONDS)
    await asyncio.sleep(0)
    done.set()

    assert 4 in await reading


async def test_environment_larger_than_a_page_is_loaded_whole(service: Service) -> None:
    operations = [
        Operation(key=f"many/{n}", content=Content(kind=Kind.SETTING, value=n), expected=None)
        for n in range(1_201)
    ]
    applied = await service.app[DATABASE].transact(
        lambda c: changes.apply(c, "local", operations, actor="test", authority=OPERATOR_AUTHORITY)
    )
    followed = await service.app[FOLLOWER].at_least("local", applied.revision)

    loading = Follower(service.app[DATABASE])
    await loading.refresh()

    loaded = loading.get("local")
    assert loaded.entries == followed.entries
    assert (
        list(loaded.keys)
        == list(followed.keys)
        == sorted(operation.key for operation in operations)
    )


async def test_first_refresh_reuses_the_snapshots_from_the_disk(
    service: Service, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    await _write(service, "a")
    keeper = DiskCopy(service.app[FOLLOWER], service.app[TOKENS], disk)
    await keeper.run_once()
    starting = Follower(service.app[DATABASE])
    directory = TokenDirectory(service.app[DATABASE], Secret("k" * 32))

    # The copy begins first, and the refresh waits for it.
    is_served, _ = await asyncio.gather(
        DiskCopy(starting, directory, disk).serve_last_known(), starting.refresh()
    )
    again = await DiskCopy(starting, directory, disk).serve_last_known()
    disk.release()

    assert (is_served, again) == (True, False)
    assert starting.get("local").entries == service.app[FOLLOWER].get("local").entries
    # A snapshot from the disk has no events, and one that was read would have that of the entry.
    assert not starting.get("local").recent


async def test_nothing_is_served_before_there_is_something(settings: Settings) -> None:
    follower = Follower(Database(settings.database))

    with pytest.raises(Unavailable, match="not finished starting"):
        follower.get("local")
    with pytest.raises(Unavailable):
        await follower.refresh()


async def test_schema_change_does_not_end_the_follower(
    service: Service, replica: Service, server: Server
) -> None:
    """The driver cannot prepare again in a transaction: one refresh fails, the next succeeds."""
    change = "alter table flagstone.configurations alter column description type "
    await replica.app[FOLLOWER].at_least("local", await _write(service, "before"))
    try:
        with server.admin("suite") as connection:
            # In a thread: the lock waits for polls, which run on this event loop.
            await asyncio.to_thread(connection.execute, change + "varchar(5000)")
        for n in range(3):
            revision = await _write(service, f"after/{n}")
            snapshot = await replica.app[FOLLOWER].at_least("local", revision, seconds=HANG_SECONDS)
            assert f"after/{n}" in snapshot.entries
    finally:
        with server.admin("suite") as connection:
            await asyncio.to_thread(connection.execute, change + "text")
    ready = await replica.stranger.get("/health/ready")

    assert ready.status == 200


@pytest.fixture
async def watched(
    service: Service, settings: Settings, database_target: Target
) -> AsyncIterator[tuple[Follower, list[str]]]:
    """Yield a follower that refreshes only when it is asked, and its statements after the start."""
    del service
    statements: list[str] = []

    async def prepare(connection: AsyncpgConnection) -> None:
        await prepare_connection(connection)
        connection.add_query_logger(lambda record: statements.append(record.query))

    database = Database(settings.database)
    await database.open(database_target, prepare)
    follower = Follower(database)
    await follower.refresh()
    statements.clear()
    yield follower, statements
    await database.close()


async def test_noticed_change_is_read_by_one_statement(
    service: Service, watched: tuple[Follower, list[str]]
) -> None:
    follower, statements = watched
    revision = await _write(service, "noticed")

    follower.notice("local", revision)
    await follower.update()

    assert len(statements) == 1
    assert_same(follower.get("local"), service.app[FOLLOWER].get("local"))


async def test_own_change_is_served_without_a_statement(
    service: Service, watched: tuple[Follower, list[str]]
) -> None:
    follower, statements = watched
    revision = await _write(service, "own")
    served = service.app[FOLLOWER].get("local")

    follower.committed([_own_change(served, follower.get("local").environment)])
    applied = follower.get("local")
    await follower.refresh()

    assert applied.revision == revision
    # The refresh lists the environments, and finds nothing to read.
    assert len(statements) == 1
    assert_same(applied, served)
    assert follower.get("local") is applied


async def test_own_change_after_a_missed_one_is_read(
    service: Service, watched: tuple[Follower, list[str]]
) -> None:
    follower, statements = watched
    await _write(service, "another")
    await _write(service, "own")
    served = service.app[FOLLOWER].get("local")

    follower.committed([_own_change(served, follower.get("local").environment)])
    before = follower.get("local").revision
    await follower.update()

    assert (before, len(statements)) == (0, 1)
    assert_same(follower.get("local"), served)


async def test_refresh_begun_before_an_own_change_does_not_undo_it(
    service: Service, watched: tuple[Follower, list[str]]
) -> None:
    follower, _ = watched
    refresh = asyncio.create_task(follower.refresh())
    revisions: set[int] = set()
    for n in range(10):
        await _write(service, f"own/{n}")
        served, before = service.app[FOLLOWER].get("local"), follower.get("local").environment
        follower.committed([_own_change(served, before)])
        revisions.add(follower.get("local").revision)
        if refresh.done():
            refresh = asyncio.create_task(follower.refresh())

    await refresh

    assert follower.get("local").revision == max(revisions) == 10


def _own_change(served: Snapshot, before: Environment) -> OwnChange:
    """Return the last change set of a snapshot as the process that wrote it reports it."""
    last = served.recent[-1]
    return OwnChange(
        environment=served.environment.name,
        revision=served.revision,
        head=served.environment,
        previous_hash=before.hash,
        event=last.data,
        touched=[(key, served.entries[key].configuration) for key in last.data.keys],
    )


async def test_notice_of_a_reached_revision_reads_nothing(
    service: Service, watched: tuple[Follower, list[str]]
) -> None:
    follower, statements = watched
    revision = await _write(service, "reached")
    follower.notice("local", revision)
    follower.notice("local", revision - 1)
    await follower.refresh()
    statements.clear()

    await follower.update()

    assert statements == []


async def test_notice_adds_and_removes_environments(
    service: Service, idle_follower: Follower
) -> None:
    await service.client.post("/v1/environments", json={"name": "brief", "tier": "local"})

    idle_follower.notice("brief", 1)
    await idle_follower.update()
    created = "brief" in idle_follower.loaded()
    deleted = await service.client.delete("/v1/environments/brief", headers={"If-Match": "*"})
    idle_follower.notice("brief", 2)
    await idle_follower.update()

    assert (created, deleted.status) == (True, 200)
    assert "brief" not in idle_follower.loaded()


async def test_changes_since_a_snapshot_equal_a_new_snapshot(
    service: Service, idle_follower: Follower
) -> None:
    """All kinds of changes come as records in one row."""
    flag = {"state": "ENABLED", "variants": {"on": 1.0, "off": 0}, "defaultVariant": "on"}
    contents: list[dict[str, Any]] = [
        {"kind": "flag", "value": flag, "description": "A flag"},
        {"kind": "segment", "value": {"==": [{"var": "z"}, "ü"]}},
        {"value": [1.5, None, {"zz": "ü", "a": 1e300}], "schema": {"type": "array"}},
        {"value": None},
    ]
    for number, content in enumerate(contents):
        await _put(service, f"k{number}", content)
    patched = await service.client.patch(
        PLACE, json={"metadata": {"owner": "ü"}}, headers={"If-Match": "*"}
    )
    await service.client.delete(f"{PLACE}/configurations/k3", headers={"If-Match": '"1"'})
    revision = service.app[FOLLOWER].get("local").revision

    idle_follower.notice("local", revision)
    await idle_follower.update()

    loaded = Follower(service.app[DATABASE])
    await loaded.refresh()
    assert (patched.status, revision) == (200, 6)
    assert_same(idle_follower.get("local"), loaded.get("local"))
    # The instance that wrote has applied most of them itself.
    assert_same(service.app[FOLLOWER].get("local"), loaded.get("local"))


def assert_same(left: Snapshot, right: Snapshot) -> None:
    """Two followers must serve the same bytes."""
    assert left.environment == right.environment
    assert left.entries == right.entries
    assert left.rules_state == right.rules_state
    assert [event.message for event in left.recent] == [event.message for event in right.recent]


async def test_new_instance_knows_earlier_changes(
    service: Service, settings: Settings, tmp_path: Path
) -> None:
    """After a replacement all clients reconnect at once and miss only a few events."""
    for n in range(3):
        await _write(service, f"k{n}")

    # A slow start would serve the file of the first instance, which has no events.
    async with serving(replace(settings, instance="replacement", data_dir=tmp_path)) as other:
        recent = other.app[FOLLOWER].get("local").recent

    assert [event.revision for event in recent] == [1, 2, 3]
