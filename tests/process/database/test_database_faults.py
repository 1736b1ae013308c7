"""PostgreSQL killed, frozen, restarted or absent: requests stay bounded, health stays honest."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import psutil
import pytest
from aiohttp import ClientSession

from app.database.role_names import APP
from tests.conftest import Server
from tests.database.test_pool import proxied
from tests.process.conftest import Process, put, until

HEALTH = {"HEARTBEAT_INTERVAL": "0.5", "HEARTBEAT_TIMEOUT": "0.5"}
# Twice the command timeout, and something for this machine.
# Seconds between the loss of the network and the signal.
MOMENTS = (0.0, 0.3, 1.2)
ANSWER_SECONDS_MAX = 2 * 1.4 + 1.5


async def _status(client: ClientSession, process: Process, probe: str) -> int:
    async with client.get(f"{process.url}/health/{probe}") as answer:
        return answer.status


async def _timed_put(
    client: ClientSession, process: Process, key: str
) -> tuple[int, float, str | None]:
    started = time.monotonic()
    async with client.put(
        f"{process.url}/v1/environments/local/configurations/{key}",
        json={"value": 1},
        headers=process.headers | {"If-None-Match": "*"},
    ) as answer:
        await answer.read()
        return answer.status, time.monotonic() - started, answer.headers.get("Retry-After")


async def _timed_get(
    client: ClientSession, process: Process, key: str
) -> tuple[int, float, str | None]:
    started = time.monotonic()
    async with client.get(
        f"{process.url}/v1/environments/local/configurations/{key}", headers=process.headers
    ) as answer:
        await answer.read()
        return answer.status, time.monotonic() - started, answer.headers.get("Flagstone-Stale")


def _processor_seconds(process: Process) -> float:
    assert process.child is not None
    times = psutil.Process(process.child.pid).cpu_times()
    return float(times.user + times.system)


async def test_frozen_database_costs_bounded_time(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    # With the default interval: it is the failing requests that call the heartbeat early.
    process = launch()
    await process.start()
    await process.ready()
    # The parent first: it starts no more then, but what works for it may end meanwhile.
    postmaster = process.postmaster()
    postmaster.suspend()
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for each in frozen:
        with suppress(psutil.NoSuchProcess):
            each.suspend()
    try:
        outcomes = await asyncio.gather(
            *(_timed_put(client, process, f"frozen/{n}") for n in range(20))
        )
        live = await _status(client, process, "live")

        async def warned() -> bool:
            async with client.get(f"{process.url}/health/ready") as answer:
                return bool((await answer.json(content_type=None))["status"] == "warn")

        await until(warned, 12)
        reads: list[tuple[int, float, str | None]] = []

        async def stale() -> bool:
            reads.append(await _timed_get(client, process, "checkout/retries"))
            return reads[-1][2] is not None

        await until(stale, 10)
    finally:
        for each in reversed(frozen):
            with suppress(psutil.NoSuchProcess):
                each.resume()
    thawed = time.monotonic()

    async def written() -> bool:
        return await put(client, process, f"thawed/{time.monotonic()}", 1) == 201

    await until(written, 10)
    back_after = time.monotonic() - thawed
    await process.ready()

    assert {status for status, _, _ in outcomes} == {503}
    assert all(retry == "1" for _, _, retry in outcomes)
    assert max(seconds for _, seconds, _ in outcomes) < ANSWER_SECONDS_MAX
    assert live == 200
    # Reads go on from memory, and say for how long nothing has confirmed them.
    assert {status for status, _, _ in reads} == {200}
    assert max(seconds for _, seconds, _ in reads) < 0.5
    assert int(reads[-1][2] or 0) >= 5
    assert back_after < 2
    assert await process.stop() == 0


async def test_killed_database_loses_no_acknowledged_write(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch(**HEALTH)
    await process.start()
    await process.ready()
    acknowledged: list[str] = []
    statuses: set[int] = set()
    slowest = 0.0
    ended = asyncio.Event()

    async def write(n: int) -> None:
        nonlocal slowest
        count = 0
        while not ended.is_set():
            key = f"w{n}/{count}"
            count += 1
            status, seconds, _ = await _timed_put(client, process, key)
            slowest = max(slowest, seconds)
            statuses.add(status)
            if status == 201:
                acknowledged.append(key)

    async def more_than(count: int) -> bool:
        return len(acknowledged) > count

    writers = [asyncio.create_task(write(n)) for n in range(4)]
    await until(lambda: more_than(50), 20)
    for number in (signal.SIGKILL, signal.SIGQUIT):
        before = len(acknowledged)
        process.postmaster().send_signal(number)
        assert await _status(client, process, "live") == 200
        await until(lambda before=before: more_than(before + 50), 30)  # type: ignore[misc]
    ended.set()
    await asyncio.gather(*writers)

    for key in acknowledged:
        async with client.get(
            f"{process.url}/v1/environments/local/configurations/{key}", headers=process.headers
        ) as answer:
            assert answer.status == 200
    assert statuses <= {201, 503}
    assert slowest < ANSWER_SECONDS_MAX
    assert await process.stop() == 0


@pytest.mark.first_start
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

    await until(live, 20)
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


@pytest.mark.first_start
async def test_start_without_database_serves_the_stored_snapshot(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    owner = launch()
    await owner.start()
    await owner.ready()
    assert await put(client, owner, "last/change", "kept") == 201
    url = (owner.data_dir / "credentials/app.url").read_text().strip()
    migrator = (owner.data_dir / "credentials/migrator.url").read_text().strip()
    assert await owner.stop() == 0

    instance = launch(DATABASE_URL=url, DATABASE_MIGRATOR_URL=migrator)
    began = time.monotonic()
    await instance.start()

    async def served() -> bool:
        return (await _timed_get(client, instance, "last/change"))[0] == 200

    await until(served, 20)
    first_read_after = time.monotonic() - began
    used = _processor_seconds(instance)
    _, _, stale = await _timed_get(client, instance, "last/change")
    probes = [await _status(client, instance, probe) for probe in ("live", "started", "ready")]
    refused = await put(client, instance, "early", 1)
    async with client.get(f"{instance.url}/health", headers=instance.headers) as answer:
        report = await answer.json(content_type=None)
    back = launch()
    await back.start()
    await back.ready()

    async def written() -> bool:
        return await put(client, instance, f"later/{time.monotonic()}", 1) == 201

    await until(written, 20)

    # Two seconds, and something for a start that counts its lines; of its own work, as other tests
    # run at the same time. Ten would be the database's, had it waited for that.
    assert used < 2 + 1.5
    assert first_read_after < 8
    assert stale is not None or report["checks"]["snapshot:local"][0]["ageSeconds"] < 5
    assert probes == [200, 200, 200]
    assert (report["status"], report["checks"]["lifecycle"][0]["output"]) == ("warn", "starting")
    assert refused == 503
    assert await instance.stop() == 0
    assert await back.stop() == 0


@pytest.mark.first_start
async def test_start_without_migration_waits_for_the_schema(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    waiting = launch(MIGRATE_ON_START="false")
    await waiting.start()

    async def said_so() -> bool:
        return "run `make migrate`" in waiting.log

    await until(said_so, 20)
    not_ready = await _status(client, waiting, "ready")
    migrate = launch()
    await migrate.start("database", "migrate")
    assert migrate.child is not None
    migrated = await migrate.child.wait()
    await waiting.ready()

    assert (not_ready, migrated) == (503, 0)
    assert await put(client, waiting, "now", 1) == 201
    assert await waiting.stop() == 0


@pytest.mark.first_start
async def test_next_start_continues_a_killed_migration(
    launch: Callable[..., Process],
) -> None:
    for delay in (0.6, 0.75, 0.9):
        process = launch()
        await process.start()
        # Anywhere between initdb and the last migration: wherever it hits, the next one goes on.
        await asyncio.sleep(delay)
        await process.stop(signal.SIGKILL)

    last = launch()
    await last.start()
    await last.ready()
    assert await last.stop() == 0


async def test_stop_ends_when_the_network_to_the_database_is_dead(
    launch: Callable[..., Process], client: ClientSession, server: Server
) -> None:
    """Whatever waits for an answer just then: a heartbeat, a write, a refresh, the listener."""
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

        async def stopped(process: Process, after: float) -> tuple[int, float]:
            writes = [put(client, process, f"k/{n}", n) for n in range(3)]
            writing = asyncio.gather(*writes, return_exceptions=True)
            await asyncio.sleep(after)
            started = time.monotonic()
            code = await process.stop()
            await writing
            return code, time.monotonic() - started

        moments = zip((first, *others), MOMENTS, strict=True)
        ends = await asyncio.gather(*(stopped(process, after) for process, after in moments))
    server.drop_database(name)

    assert [code for code, _ in ends] == [0, 0, 0], first.log
    # Three times what it takes on an idle machine.
    assert max(seconds for _, seconds in ends) < 20
