"""PostgreSQL is killed, frozen, restarted or absent: requests end in time, health reports it."""

import asyncio
import itertools
import signal
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import psutil
import pytest
from aiohttp import ClientSession

from app.database.role_names import APP
from tests.conftest import Server
from tests.database.proxy import proxied
from tests.process.conftest import Process, put
from tests.waiting import until

HEALTH = {"HEARTBEAT_INTERVAL": "0.5", "HEARTBEAT_TIMEOUT": "0.5"}
# Seconds between the loss of the network and the signal.
MOMENTS = (0.0, 0.3, 1.2)


async def _status(client: ClientSession, process: Process, probe: str) -> int:
    async with client.get(f"{process.url}/health/{probe}") as answer:
        return answer.status


async def _put_new(client: ClientSession, process: Process, key: str) -> tuple[int, str | None]:
    """Return the status and Retry-After."""
    async with client.put(
        f"{process.url}/v1/environments/local/configurations/{key}",
        json={"value": 1},
        headers=process.headers | {"If-None-Match": "*"},
    ) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Retry-After")


async def _get(client: ClientSession, process: Process, key: str) -> tuple[int, str | None]:
    """Return the status and Flagstone-Stale."""
    async with client.get(
        f"{process.url}/v1/environments/local/configurations/{key}", headers=process.headers
    ) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Flagstone-Stale")


@pytest.mark.slow
async def test_frozen_database_costs_bounded_time(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    # The default interval, since failing requests make the heartbeat run early.
    process = launch()
    await process.start()
    await process.ready()
    # Freeze the postmaster first, so that it starts no further processes. Others may end.
    postmaster = process.postmaster()
    postmaster.suspend()
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for pid in frozen:
        with suppress(psutil.NoSuchProcess):
            pid.suspend()
    try:
        outcomes = await asyncio.gather(
            *(_put_new(client, process, f"frozen/{n}") for n in range(20))
        )
        live = await _status(client, process, "live")

        async def warned() -> bool:
            async with client.get(f"{process.url}/health/ready") as answer:
                return bool((await answer.json(content_type=None))["status"] == "warn")

        await until(warned)
        reads: list[tuple[int, str | None]] = []

        async def stale() -> bool:
            reads.append(await _get(client, process, "checkout/retries"))
            return reads[-1][1] is not None

        await until(stale)
    finally:
        for pid in reversed(frozen):
            with suppress(psutil.NoSuchProcess):
                pid.resume()
    attempts = itertools.count()

    async def written() -> bool:
        return await put(client, process, f"thawed/{next(attempts)}", 1) == 201

    await until(written)
    await process.ready()

    assert set(outcomes) == {(503, "1")}
    assert live == 200
    # Reads are served from memory, and have the time since the last confirmation.
    assert {status for status, _ in reads} == {200}
    assert int(reads[-1][1] or 0) >= 5
    assert await process.stop() == 0


@pytest.mark.slow
async def test_killed_database_loses_no_acknowledged_write(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch(**HEALTH)
    await process.start()
    await process.ready()
    acknowledged: list[str] = []
    statuses: set[int] = set()
    ended = asyncio.Event()

    async def write(n: int) -> None:
        count = 0
        while not ended.is_set():
            key = f"w{n}/{count}"
            count += 1
            status, _ = await _put_new(client, process, key)
            statuses.add(status)
            if status == 201:
                acknowledged.append(key)

    async def more_than(count: int) -> bool:
        return len(acknowledged) > count

    writers = [asyncio.create_task(write(n)) for n in range(4)]
    await until(lambda: more_than(50))
    for number in (signal.SIGKILL, signal.SIGQUIT):
        before = len(acknowledged)
        process.postmaster().send_signal(number)
        assert await _status(client, process, "live") == 200
        await until(lambda before=before: more_than(before + 50))  # type: ignore[misc]
    ended.set()
    await asyncio.gather(*writers)

    for key in acknowledged:
        async with client.get(
            f"{process.url}/v1/environments/local/configurations/{key}", headers=process.headers
        ) as answer:
            assert answer.status == 200
    assert statuses <= {201, 503}
    assert await process.stop() == 0


@pytest.mark.slow
async def test_start_waits_for_the_database(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    owner = launch()
    await owner.start()
    await owner.ready()
    url = (owner.data_dir / "credentials/app.url").read_text().strip()
    migrator = (owner.data_dir / "credentials/migrator.url").read_text().strip()
    assert await owner.stop() == 0
    waiting = launch(DATABASE_URL=url, DATABASE_MIGRATOR_URL=migrator, SNAPSHOT_ON_DISK="false")
    await waiting.start()

    async def live() -> bool:
        return await _status(client, waiting, "live") == 200

    await until(live)
    not_ready = await _status(client, waiting, "ready")
    not_started = await _status(client, waiting, "started")
    refused = await put(client, waiting, "early", 1)
    again = launch()
    await again.start()
    await again.ready()
    await waiting.ready()

    assert (not_ready, not_started, refused) == (503, 503, 503)
    assert await put(client, waiting, "later", 1) == 201
    assert await waiting.stop() == 0
    assert await again.stop() == 0


@pytest.mark.slow
async def test_start_without_database_serves_the_stored_snapshot(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    owner = launch()
    await owner.start()
    await owner.ready()
    assert await put(client, owner, "last/change", "stored") == 201
    url = (owner.data_dir / "credentials/app.url").read_text().strip()
    migrator = (owner.data_dir / "credentials/migrator.url").read_text().strip()
    assert await owner.stop() == 0

    instance = launch(DATABASE_URL=url, DATABASE_MIGRATOR_URL=migrator)
    await instance.start()

    async def served() -> bool:
        return (await _get(client, instance, "last/change"))[0] == 200

    await until(served)
    probes = [await _status(client, instance, probe) for probe in ("live", "started", "ready")]
    refused = await put(client, instance, "early", 1)
    async with client.get(f"{instance.url}/health", headers=instance.headers) as answer:
        report = await answer.json(content_type=None)
    _, stale = await _get(client, instance, "last/change")
    back = launch()
    await back.start()
    await back.ready()
    attempts = itertools.count()

    async def written() -> bool:
        return await put(client, instance, f"later/{next(attempts)}", 1) == 201

    await until(written)

    # The report is the older one of both, so what it calls stale is stale at the read too.
    assert stale is not None or report["checks"]["snapshot:local"][0]["ageSeconds"] < 5
    assert probes == [200, 200, 200]
    assert (report["status"], report["checks"]["lifecycle"][0]["output"]) == ("warn", "starting")
    assert refused == 503
    assert await instance.stop() == 0
    assert await back.stop() == 0


@pytest.mark.slow
@pytest.mark.first_start
async def test_start_without_migration_waits_for_the_schema(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    waiting = launch(MIGRATE_ON_START="false")
    await waiting.start()

    async def said_so() -> bool:
        return "Run `python -m app database migrate`" in waiting.log

    await until(said_so)
    not_ready = await _status(client, waiting, "ready")
    migrate = launch()
    await migrate.start("database", "migrate")
    assert migrate.child is not None
    migrated = await migrate.child.wait()
    await waiting.ready()

    assert (not_ready, migrated) == (503, 0)
    assert await put(client, waiting, "now", 1) == 201
    assert await waiting.stop() == 0


@pytest.mark.slow
@pytest.mark.first_start
async def test_next_start_continues_a_killed_migration(
    launch: Callable[..., Process],
) -> None:
    for delay in (0.6, 0.75, 0.9):
        process = launch()
        await process.start()
        # At any point between initdb and the last migration. The next start continues.
        await asyncio.sleep(delay)
        await process.stop(signal.SIGKILL)

    last = launch()
    await last.start()
    await last.ready()
    assert await last.stop() == 0


@pytest.mark.slow
async def test_stop_ends_when_the_network_to_the_database_is_dead(
    launch: Callable[..., Process], client: ClientSession, server: Server
) -> None:
    """A heartbeat, a write, a refresh or the listener may be waiting for an answer."""
    name = server.create_database("dead_network", template="flagstone")
    target = server.target(APP, name)
    password = quote(target.password.reveal()) if target.password else ""
    async with proxied(target) as (proxy, _):
        url = f"postgresql://{target.user}:{password}@127.0.0.1:{proxy.port}/{name}"
        settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "false", "HEARTBEAT_INTERVAL": "0.5"}
        first = launch(**settings)
        await first.start()
        await first.ready()
        others = [launch(**settings) for _ in range(2)]
        for process in others:
            await process.start()
            await process.ready()
        proxy.flowing.clear()

        async def stopped(process: Process, after: float) -> int:
            writes = [put(client, process, f"k/{n}", n) for n in range(3)]
            writing = asyncio.gather(*writes, return_exceptions=True)
            await asyncio.sleep(after)
            code = await process.stop()
            await writing
            return code

        moments = zip((first, *others), MOMENTS, strict=True)
        codes = await asyncio.gather(*(stopped(process, after) for process, after in moments))
    server.drop_database(name)

    assert codes == [0, 0, 0], first.log
