"""Several worker processes on one port act as one service, even if one of them dies or hangs."""

import asyncio
import re
import signal
from collections import defaultdict
from collections.abc import Callable

import psutil
import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from tests.process.conftest import Process, put
from tests.processes import has_ended
from tests.waiting import HANG_SECONDS, until

READS = "/v1/environments/local/configurations/checkout/retries"


def is_worker(child: psutil.Process) -> bool:
    """Return whether this child is a worker that runs, and not the embedded server."""
    try:
        return child.name() != "postgres" and not has_ended(child)
    except psutil.NoSuchProcess:
        return False


def workers(process: Process) -> list[psutil.Process]:
    assert process.child is not None
    return list(filter(is_worker, psutil.Process(process.child.pid).children()))


async def requests_by_worker(client: ClientSession, process: Process) -> dict[str, float]:
    """Return the number of reads by worker, from one scrape.

    The result is empty while the first worker starts.
    """
    async with client.get(f"{process.url}/metrics", headers=process.headers) as answer:
        text = await answer.text() if answer.status == 200 else ""
    counts: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "flagstone_info":
                counts[sample.labels["worker"]] += 0
            is_count = sample.name == "flagstone_http_request_duration_seconds_count"
            if is_count and sample.labels["route"].endswith("/configurations/{key}"):
                counts[sample.labels["worker"]] += sample.value
    return dict(counts)


async def are_scraped(client: ClientSession, process: Process, count: int) -> bool:
    return len(await requests_by_worker(client, process)) == count


async def listen(process: Process, count: int) -> bool:
    """Return whether this many workers listen. A worker is scraped before it listens."""
    listening = [
        worker
        for worker in workers(process)
        if any(found.status == psutil.CONN_LISTEN for found in worker.net_connections("tcp"))
    ]
    return len(listening) == count


async def start_all(client: ClientSession, process: Process, count: int) -> None:
    """Start a service, and wait until all of its workers listen and a scrape has them."""
    await process.start()
    await process.ready()
    await until(lambda: listen(process, count))
    await until(lambda: are_scraped(client, process, count))


async def read(process: Process) -> tuple[int, str]:
    """Read once over a new connection. Return the status and the request ID."""
    async with (
        ClientSession() as session,
        session.get(process.url + READS, headers=process.headers) as answer,
    ):
        return answer.status, answer.headers["X-Request-ID"]


async def test_one_scrape_has_the_requests_of_every_worker(
    launch_beside: Callable[..., Process], client: ClientSession
) -> None:
    process = launch_beside(WORKERS="3")
    await start_all(client, process, 3)
    answers = await asyncio.gather(*(read(process) for _ in range(120)))
    counted: dict[str, float] = {}

    async def all_are_scraped() -> bool:
        counted.update(await requests_by_worker(client, process))
        return len(counted) == 3

    await until(all_are_scraped)
    written = await put(client, process, "shared", 1)

    assert {status for status, _ in answers} == {200}
    # The workers are forks of one process, and each numbers its requests from 1.
    assert len({id_ for _, id_ in answers}) == 120
    assert sum(counted.values()) == 120
    assert len([count for count in counted.values() if count]) >= 2
    assert written == 201
    assert await process.stop() == 0
    assert "worker_died" not in process.log


async def test_death_of_a_worker_refuses_no_connection(
    launch_beside: Callable[..., Process], client: ClientSession
) -> None:
    process = launch_beside(WORKERS="2")
    await start_all(client, process, 2)
    before = {worker.pid for worker in workers(process)}
    victim = workers(process)[0]

    victim.kill()
    answers = [await read(process) for _ in range(100)]

    async def replaced() -> bool:
        now = {worker.pid for worker in workers(process)}
        return len(now) == 2 and now != before and await are_scraped(client, process, 2)

    await until(replaced)
    assert {status for status, _ in answers} == {200}
    assert await process.stop() == 0


async def test_workers_end_when_the_supervisor_is_killed(
    launch_beside: Callable[..., Process],
) -> None:
    process = launch_beside(WORKERS="2")
    await process.start()
    await process.ready()
    orphans = workers(process)

    await process.stop(signal.SIGKILL)

    async def gone() -> bool:
        return all(map(has_ended, orphans))

    await until(gone)


async def test_start_that_fails_in_every_worker_ends_the_service(
    launch: Callable[..., Process],
) -> None:
    owner = launch()
    await owner.start()
    await owner.ready()
    url = (owner.data_dir / "credentials/app.url").read_text().strip()
    wrong = re.sub(r"://([^:]*):[^@]*@", r"://\1:wrong-password@", url)

    process = launch(WORKERS="2", DATABASE_URL=wrong, MIGRATE_ON_START="false")
    await process.start()
    assert process.child is not None
    code = await asyncio.wait_for(process.child.wait(), HANG_SECONDS)

    assert code == 1
    assert "wrong-password" not in process.log
    assert workers(owner) == []
    assert await owner.stop() == 0


async def test_sigint_stops_all_workers(
    launch_beside: Callable[..., Process],
) -> None:
    process = launch_beside(WORKERS="2")
    await process.start()
    await process.ready()
    running = workers(process)

    code = await process.stop(signal.SIGINT)

    assert code == 0
    assert all(map(has_ended, running))


@pytest.mark.slow
async def test_worker_that_hangs_is_killed_and_replaced(
    launch_beside: Callable[..., Process], client: ClientSession
) -> None:
    process = launch_beside(WORKERS="2")
    await start_all(client, process, 2)
    victim = workers(process)[0]
    victim.suspend()

    async def replaced() -> bool:
        is_gone = victim.pid not in {worker.pid for worker in workers(process)}
        return is_gone and await are_scraped(client, process, 2)

    await until(replaced)
    assert "worker_silent" in process.log
    assert await process.stop() == 0


async def test_second_service_does_not_share_the_port(
    launch_beside: Callable[..., Process],
) -> None:
    """Both start at the same moment, before one of them listens."""
    first, second = launch_beside(WORKERS="2"), launch_beside(WORKERS="2")
    second.port = first.port
    await asyncio.gather(first.start(), second.start())

    ended = {
        asyncio.ensure_future(process.child.wait()): process
        for process in (first, second)
        if process.child is not None
    }
    done, rest = await asyncio.wait(
        ended, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    assert [task.result() for task in done] == [1]
    (survivor,) = (ended[task] for task in rest)
    await survivor.ready()

    assert await survivor.stop() == 0


async def test_first_worker_alone_is_live_until_it_serves(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    nowhere = "postgresql://flagstone_app:x@127.0.0.1:1/flagstone"
    process = launch(WORKERS="2", DATABASE_URL=nowhere, MIGRATE_ON_START="false")
    await process.start()

    async def alive() -> bool:
        async with client.get(f"{process.url}/health/live") as answer:
            return answer.status == 200

    await until(alive)
    # The others wait for it: a ready one would make the service look ready before this one serves.
    (first,) = workers(process)
    first.kill()
    await until(alive)

    assert await process.stop() == 0
