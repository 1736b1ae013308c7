"""Environments that are not in memory are loaded when asked for, and dropped when idle."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from app.access.directory import TokenDirectory
from app.access.guard import TOKENS
from app.access.models import Scope
from app.components import ReportScope, Status
from app.configuration.snapshots import loading, residency
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Connection, Database
from app.errors import NotFound, Unavailable
from app.http.keys import DATABASE
from app.settings import Secret, Settings, Target
from tests.conftest import Service, serving
from tests.factories import flag
from tests.waiting import HANG_SECONDS, until

LOCAL = "/v1/environments/local"
ENTRY = f"{LOCAL}/configurations/f"
IDLE_SECONDS = 3_600.0


@pytest.fixture(autouse=True)
def no_warm_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load no environment at the start."""
    monkeypatch.setattr(residency, "WARM_ENTRIES", -1)


@pytest.fixture
async def lazy(service: Service, settings: Settings) -> AsyncIterator[Service]:
    """Yield a second instance, which has no environment in memory, beside a stored flag."""
    await put(service)
    chosen = replace(settings, instance="lazy", snapshot_idle_seconds=IDLE_SECONDS)
    async with serving(chosen) as other:
        assert not other.app[FOLLOWER].loaded()
        yield other


@pytest.fixture
async def database(service: Service, settings: Settings, database_target: Target) -> Database:
    """Return a connection of its own, which a test can close."""
    await put(service)
    opened = Database(settings.database)
    await opened.open(database_target)
    return opened


@pytest.fixture
async def cold(database: Database) -> AsyncIterator[Follower]:
    """Yield a follower that knows all environments and has none in memory."""
    follower = Follower(database, IDLE_SECONDS)
    await follower.refresh()
    yield follower
    await follower.close()
    await database.close()


async def put(service: Service, key: str = "f", version: int = 0) -> int:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    async with service.client.put(
        f"{LOCAL}/configurations/{key}",
        json={"value": flag(), "kind": "flag"},
        headers=condition,
    ) as answer:
        assert answer.status in {200, 201}, await answer.text()
        return int((await answer.json())["revision"])


def is_loaded(service: Service, environment: str = "local") -> bool:
    return environment in service.app[FOLLOWER].loaded()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ENTRY),
        ("GET", f"{LOCAL}/configurations"),
        ("GET", LOCAL),
        ("GET", f"{LOCAL}/export"),
        ("GET", f"{LOCAL}/flags.json"),
        ("POST", f"{LOCAL}/ofrep/v1/evaluate/flags/f"),
        ("POST", f"{LOCAL}/ofrep/v1/evaluate/flags"),
        ("POST", f"{LOCAL}/flags/f/evaluate"),
        ("GET", "/console/environments/local/flags"),
        ("GET", "/console/environments/local/flags/f"),
        ("GET", "/console/environments/local/settings"),
        ("GET", "/console/environments/local/changes"),
        ("GET", "/console/environments/local/compare?against=staging"),
        ("GET", "/console/environments/staging/flag-copy/f?source=local"),
    ],
)
async def test_first_request_loads_its_environment(lazy: Service, method: str, path: str) -> None:
    body = {"context": {"targetingKey": "u"}} if method == "POST" else None
    async with lazy.client.request(method, path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert await answer.read()

    assert "production" not in lazy.app[FOLLOWER].loaded() or "console" in path


async def test_first_request_of_a_token_loads_its_environment(lazy: Service) -> None:
    token = await lazy.token(Scope.EVALUATE, Scope.READ, environments=("local",))
    bearer = {"Authorization": f"Bearer {token}"}
    async with lazy.stranger.post("/ofrep/v1/evaluate/flags/f", json={}, headers=bearer) as answer:
        evaluated = answer.status
    async with lazy.stranger.get("/v1/flags", headers=bearer) as answer:
        fetched = answer.status

    assert (evaluated, fetched) == (200, 200)


async def test_requests_without_a_right_load_nothing(lazy: Service) -> None:
    token = await lazy.token(Scope.READ, environments=("staging",))
    async with lazy.stranger.get(ENTRY, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 403

    assert not lazy.app[FOLLOWER].loaded()


async def test_reads_without_a_snapshot_load_nothing(lazy: Service) -> None:
    for path in ("/v1/environments", f"{LOCAL}/changes", f"{ENTRY}/history", f"{ENTRY}?revision=1"):
        async with lazy.client.get(path) as answer:
            assert answer.status == 200, path

    assert not lazy.app[FOLLOWER].loaded()


async def test_concurrent_requests_share_one_load(lazy: Service) -> None:
    async def read(client: ClientSession) -> int:
        async with client.get(ENTRY) as answer:
            return answer.status

    statuses = await asyncio.gather(*(read(lazy.client) for _ in range(20)))

    assert statuses == [200] * 20
    assert lazy.app[FOLLOWER].loads.results == {"origin": 1}


async def test_write_to_an_absent_environment_is_read_back(lazy: Service) -> None:
    revision = await put(lazy, version=1)
    was_loaded = is_loaded(lazy)

    async with lazy.client.get(ENTRY) as answer:
        entry = await answer.json()

    assert not was_loaded
    assert (entry["version"], entry["updated_revision"]) == (2, revision)


async def test_min_revision_loads_and_waits(service: Service, lazy: Service) -> None:
    revision = await put(service, version=1)

    async with lazy.client.get(ENTRY, params={"min_revision": str(revision)}) as answer:
        entry = await answer.json()

    assert entry["version"] == 2


async def test_change_during_a_load_is_in_its_result(
    service: Service, cold: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, is_read, may_end = loading.read, asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, environment: str) -> Snapshot:
        snapshot = await read(connection, environment)
        is_read.set()
        await may_end.wait()
        return snapshot

    monkeypatch.setattr(loading, "read", slow)
    reading = asyncio.create_task(cold.read("local"))
    await is_read.wait()
    revision = await put(service, version=1)
    cold.notice("local", revision)
    may_end.set()

    assert (await reading).revision == revision


async def test_idle_environment_is_dropped_and_loaded_again(cold: Follower) -> None:
    await cold.read("local")
    cold.uses.idle_seconds = 1e-9
    await cold.drop_idle()
    dropped = dict(cold.loaded())
    cold.uses.idle_seconds = IDLE_SECONDS
    again = await cold.read("local")

    assert (dropped, cold.drops) == ({}, 1)
    assert "f" in again.entries


async def test_few_entries_are_never_dropped(
    cold: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cold.read("local")
    monkeypatch.setattr(residency, "WARM_ENTRIES", 1)
    cold.uses.idle_seconds = 1e-9

    for _ in range(3):
        await cold.drop_idle()

    assert list(cold.loaded()) == ["local"]


async def test_start_loads_what_may_stay(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(service)
    monkeypatch.setattr(residency, "WARM_ENTRIES", 0)
    chosen = replace(settings, instance="warm", snapshot_idle_seconds=IDLE_SECONDS)
    async with serving(chosen) as other:
        loaded = set(other.app[FOLLOWER].loaded())

    assert loaded == {"development", "production", "staging"}


async def test_environment_with_an_open_stream_stays(
    service: Service, lazy: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = lazy.app[FOLLOWER]
    async with lazy.client.get(f"{LOCAL}/events") as stream:
        async with lazy.client.get("/v1/environments/staging/configurations"):
            pass
        monkeypatch.setattr(follower.uses, "idle_seconds", 1.5)

        async def is_dropped() -> bool:
            await follower.drop_idle()
            return not is_loaded(lazy, "staging")

        await until(is_dropped)
        stayed = is_loaded(lazy)
        revision = await put(service, version=1)
        async with asyncio.timeout(HANG_SECONDS):
            while f'"revision":{revision}'.encode() not in await stream.content.readline():
                pass

    assert stayed


async def test_stream_resumes_at_an_absent_environment(service: Service, lazy: Service) -> None:
    async with service.client.get(ENTRY) as answer:
        position = answer.headers["Flagstone-Revision"]
    revision = await put(service, version=1)

    async with (
        lazy.client.get(f"{LOCAL}/events", headers={"Last-Event-ID": position}) as stream,
        asyncio.timeout(HANG_SECONDS),
    ):
        lines = [await stream.content.readline() for _ in range(6)]

    assert f'"revision":{revision}'.encode() in b"".join(lines)
    assert b"event: change" in b"".join(lines)


async def copied(cold: Follower, service: Service, disk: Disk) -> DiskCopy:
    """Copy all environments to the disk, while none is in memory."""
    copy = DiskCopy(cold, service.app[TOKENS], disk)
    await copy.run_once()
    await copy.run_once()
    return copy


async def test_absent_environment_is_served_from_disk_without_database(
    service: Service, cold: Follower, database: Database, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    await copied(cold, service, disk)
    await database.close()

    with service.using(FOLLOWER, cold):
        async with service.client.get(ENTRY) as answer:
            read = answer.status, (await answer.json())["version"]
            is_stale = "Flagstone-Stale" in answer.headers

    assert (read, is_stale) == ((200, 1), False)
    assert cold.loads.results == {"disk": 1}


async def test_older_entries_on_disk_are_marked_stale(
    service: Service, cold: Follower, database: Database, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    await copied(cold, service, disk)
    await put(service, version=1)
    await cold.refresh()
    await database.close()

    with service.using(FOLLOWER, cold):
        async with service.client.get(ENTRY) as answer:
            version, stale = (await answer.json())["version"], answer.headers["Flagstone-Stale"]
    status = cold.checks(ReportScope())["snapshot:local"].status

    assert (version, int(stale) >= 1, status) == (1, True, Status.WARN)


async def test_start_without_database_serves_every_environment(
    service: Service, cold: Follower, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    await copied(cold, service, disk)
    starting = Follower(Database(settings.database), IDLE_SECONDS)
    directory = TokenDirectory(service.app[DATABASE], Secret("k" * 32))

    is_served = await DiskCopy(starting, directory, disk).serve_last_known()
    loaded = dict(starting.loaded())
    snapshot = await starting.read("local")

    assert (is_served, loaded) == (True, {})
    assert starting.environments() == cold.environments()
    assert list(snapshot.entries) == ["f"]


async def test_absent_environment_without_database_and_disk_is_503(
    service: Service, cold: Follower, database: Database
) -> None:
    await database.close()

    with service.using(FOLLOWER, cold):
        async with service.client.get(ENTRY) as answer:
            problem = await answer.json(content_type=None)
        async with service.client.get("/v1/environments") as answer:
            listed = answer.status

    assert (problem["status"], problem["code"]) == (503, "database_away")
    assert listed == 200


async def test_environment_deleted_meanwhile_is_not_found(
    service: Service, database: Database
) -> None:
    async with service.client.post("/v1/environments", json={"name": "gone", "tier": "local"}):
        pass
    follower = Follower(database, IDLE_SECONDS)
    await follower.refresh()
    async with service.client.delete(
        "/v1/environments/gone", headers={"If-Match": '"2"'}
    ) as answer:
        assert answer.status == 200, await answer.text()
    with pytest.raises(NotFound):
        await follower.read("gone")
    await follower.refresh()
    await follower.close()
    await database.close()

    assert "gone" not in follower.environments()


async def test_environment_deleted_during_its_load_is_not_served(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service.client.post("/v1/environments", json={"name": "gone", "tier": "local"}):
        pass
    follower = Follower(database, IDLE_SECONDS)
    await follower.refresh()
    read = loading.read

    async def then_deleted(connection: Connection, environment: str) -> Snapshot:
        snapshot = await read(connection, environment)
        async with service.client.delete(
            "/v1/environments/gone", headers={"If-Match": '"2"'}
        ) as answer:
            assert answer.status == 200, await answer.text()
        await follower.refresh()
        return snapshot

    monkeypatch.setattr(loading, "read", then_deleted)
    with pytest.raises(NotFound):
        await follower.read("gone")
    await follower.close()
    await database.close()

    assert "gone" not in follower.loaded()


async def test_failed_load_is_503_and_a_warning(
    cold: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(connection: Connection, environment: str) -> Snapshot:
        del connection, environment
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(loading, "read", broken)
        with pytest.raises(Unavailable, match="cannot be loaded"):
            await cold.read("local")
        check = cold.checks(ReportScope())["snapshot:local"]
    await cold.read("local")

    assert (check.status, cold.loads.results["failed"]) == (Status.WARN, 1)
    assert cold.checks(ReportScope())["snapshot:local"].status is Status.PASS


async def test_load_that_takes_long_is_503_and_goes_on(
    cold: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_end = loading.read, asyncio.Event()

    async def slow(connection: Connection, environment: str) -> Snapshot:
        await may_end.wait()
        return await read(connection, environment)

    monkeypatch.setattr(loading, "read", slow)
    monkeypatch.setattr(residency, "LOAD_SECONDS", 0.01)
    with pytest.raises(Unavailable, match="is being loaded"):
        await cold.read("local")
    monkeypatch.setattr(residency, "LOAD_SECONDS", 60.0)
    may_end.set()
    snapshot = await cold.read("local")

    assert "f" in snapshot.entries
    assert cold.loads.results == {"origin": 1}


async def test_report_tells_which_environments_are_in_memory(lazy: Service) -> None:
    async with lazy.client.get(ENTRY) as answer:
        assert answer.status == 200
    async with lazy.client.get("/health") as answer:
        checks = (await answer.json(content_type=None))["checks"]
    async with lazy.client.get("/metrics") as answer:
        metrics = await answer.text()

    assert "output" not in checks["snapshot:local"][0]
    assert checks["snapshot:staging"][0]["status"] == "pass"
    assert checks["snapshot:staging"][0]["output"].startswith("not in memory")
    assert 'flagstone_snapshot_in_memory{environment="local",worker="1"} 1.0' in metrics
    assert 'flagstone_snapshot_in_memory{environment="staging",worker="1"} 0.0' in metrics
    assert 'flagstone_snapshot_loads_total{result="origin",worker="1"} 1.0' in metrics
    assert 'flagstone_snapshot_entries{worker="1"} 1.0' in metrics


async def test_swapped_history_of_an_absent_environment_is_a_new_epoch(cold: Follower) -> None:
    head = cold.environments()["local"]
    wrong = msgspec.structs.replace(head, hash="00" * 32)
    cold.adopt({}, [wrong], confirmed_at=0.0)

    await cold.refresh()
    await cold.refresh()

    assert cold.environments()["local"].epoch != head.epoch
    counts = {
        sample.labels["environment"]: sample.value
        for metric in cold.metrics()
        for sample in metric.samples
        if sample.name == "flagstone_history_replacements_total"
    }
    assert counts["local"] == 1


async def test_own_change_of_an_absent_environment_is_guarded(lazy: Service) -> None:
    """A standby that lacks it must not become the primary unnoticed."""
    revision = await put(lazy, version=1)

    assert lazy.app[FOLLOWER].environments()["local"].revision == revision


async def test_console_shows_absent_environments(service: Service, lazy: Service) -> None:
    async with service.client.put(
        "/v1/environments/production/configurations/f",
        json={"value": flag(), "kind": "flag"},
        headers={"If-None-Match": "*"},
    ) as answer:
        assert answer.status == 201
    async with lazy.client.get("/console/environments") as answer:
        listed = await answer.text()
    async with lazy.client.get("/console/environments/local/flag-dependencies/f") as answer:
        compared = await answer.text()
    async with lazy.client.get(
        "/console/environments/local/new-flag-key", params={"key": "f"}
    ) as answer:
        taken = await answer.text()

    assert answer.status == 200
    assert '<td class="number hide-small">1</td>' in listed
    assert "production" in compared
    assert "production" in taken
    assert set(lazy.app[FOLLOWER].loaded()) == {"local"}
