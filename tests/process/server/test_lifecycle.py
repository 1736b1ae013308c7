"""The start and the stop of the service: no accepted write is lost, and no process remains."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from aiohttp import ClientSession

from tests.process.conftest import PATIENT, Process, put
from tests.processes import has_ended
from tests.waiting import HANG_SECONDS, until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_stops_the_service_and_its_database(
    launch: Callable[..., Process], number: int
) -> None:
    process = launch()
    # A new interpreter, once: its imports take longer than the rest of the test.
    process.is_fork = number != signal.SIGTERM
    await process.start()
    await process.ready()
    postmaster = process.postmaster()

    code = await process.stop(number)

    assert code == 0, process.log
    assert has_ended(postmaster)
    assert "Traceback" not in process.log


async def test_log_names_the_token_file_and_has_no_secret(
    launch: Callable[..., Process],
) -> None:
    process = launch()
    await process.start()
    await process.ready()
    await process.stop()

    assert str(process.data_dir / "admin-token") in process.log
    assert process.token not in process.log
    for name in ("token-key", "superuser", "credentials/app.url", "credentials/migrator.url"):
        secret = (process.data_dir / name).read_text().strip()
        assert secret not in process.log
        assert (process.data_dir / name).stat().st_mode & 0o077 == 0
    assert (process.data_dir / "admin-token").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.first_start
async def test_four_first_starts_at_once_all_succeed(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    processes = [launch(INSTANCE_ID=f"i{n}") for n in range(4)]

    await asyncio.gather(*(process.start() for process in processes))
    await asyncio.gather(*(process.ready() for process in processes))

    # They share one token file, and each accepts the token.
    for process in processes:
        assert await _statuses_until_written(client, process) <= {201, 503}
    first, *others = processes
    for process in others:
        assert await process.stop() == 0
    assert await put(client, first, "still-there", 1) == 201
    assert await first.stop() == 0


async def _statuses_until_written(client: ClientSession, process: Process) -> set[int]:
    """Write new entries until one is accepted. A busy service may refuse some before."""
    statuses: set[int] = set()

    async def is_written() -> bool:
        key = f"k{process.port}/{time.monotonic_ns()}"
        statuses.add(await put(client, process, key, 1))
        return 201 in statuses

    await until(is_written)
    return statuses


@pytest.mark.slow
async def test_running_requests_finish_after_the_signal(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch(DRAIN_SECONDS="6", **PATIENT)
    await process.start()
    await process.ready()
    statuses: list[int] = []

    async def write(n: int) -> None:
        while 0 not in statuses:
            statuses.append(await put(client, process, f"k{n}/{len(statuses)}", n))

    writers = [asyncio.create_task(write(n)) for n in range(8)]
    await until(lambda: _true(len(statuses) > 50))
    stopping = asyncio.create_task(process.stop())

    async def draining() -> bool:
        async with client.get(f"{process.url}/health/ready") as answer:
            return answer.status == 503

    await until(draining)
    served_while_draining = await put(client, process, "late", 1)
    code = await stopping
    await asyncio.gather(*writers)

    assert served_while_draining == 201
    assert code == 0
    assert set(statuses) <= {201, 0}


async def test_open_stream_does_not_delay_the_stop(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch(SHUTDOWN_TIMEOUT="60")
    await process.start()
    await process.ready()
    async with client.get(
        f"{process.url}/v1/environments/local/events", headers=process.headers
    ) as stream:
        await stream.content.readuntil(b"\n")

        # The stream would delay the stop by SHUTDOWN_TIMEOUT.
        async with asyncio.timeout(55):
            code = await process.stop()
        rest = await stream.content.read()

    assert code == 0
    # The response ends properly: `read` would raise if the connection broke.
    assert b"data:" not in rest
    assert "Traceback" not in process.log


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value


@pytest.mark.slow
async def test_sigkill_during_writes_loses_nothing_acknowledged(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch()
    await process.start()
    await process.ready()
    acknowledged: list[str] = []
    ended = asyncio.Event()

    async def write(n: int) -> None:
        count = 0
        while not ended.is_set():
            key = f"w{n}/{count}"
            count += 1
            status = await put(client, process, key, n)
            if status == 201:
                acknowledged.append(key)
            elif status == 0:
                ended.set()

    writers = [asyncio.create_task(write(n)) for n in range(4)]
    await until(lambda: _true(len(acknowledged) > 100))
    await process.stop(signal.SIGKILL)
    await asyncio.gather(*writers)

    again = launch()
    await again.start()
    await again.ready()
    keys: list[str] = []
    after: str | None = ""
    while after is not None:
        async with client.get(
            f"{again.url}/v1/environments/local/configurations",
            params={"prefix": "w", "limit": "500", "after": after},
            headers=again.headers,
        ) as answer:
            page = await answer.json()
        keys += [item["key"] for item in page["items"]]
        after = page["next"]
    async with client.get(f"{again.url}/v1/environments/local", headers=again.headers) as answer:
        revision = (await answer.json())["revision"]

    assert set(acknowledged) <= set(keys)
    # The first revision is the test data. Each write made exactly one more.
    assert revision == len(keys) + 1
    assert await again.stop() == 0


async def test_invalid_settings_end_the_start_with_one_message(
    launch: Callable[..., Process],
) -> None:
    process = launch(TIER="production", DATABASE_POOL_MAX="many", LOG_LEVEL="hunter2")
    await process.start()
    assert process.child is not None

    code = await process.child.wait()

    assert code == 1
    for name in ("DATABASE_URL", "DATABASE_POOL_MAX", "LOG_LEVEL", "TOKEN_KEY"):
        assert f"{name}: " in process.log
    assert "hunter2" not in process.log
    assert "Traceback" not in process.log


async def test_port_in_use_ends_the_start_and_is_named(launch: Callable[..., Process]) -> None:
    first = launch()
    await first.start()
    await first.ready()
    second = launch(PORT=str(first.port))
    await second.start()
    assert second.child is not None

    code = await second.child.wait()

    assert code == 1
    assert f"error: PORT: {first.port} is already in use on 127.0.0.1" in second.log
    assert "Traceback" not in second.log
    assert await first.stop() == 0


async def test_wrong_database_password_ends_the_start(launch: Callable[..., Process]) -> None:
    helper = launch()
    await helper.start()
    await helper.ready()
    folder = str(helper.data_dir / "socket").replace("/", "%2F")
    process = launch(DATABASE_URL=f"postgresql://flagstone_app:hunter2hunter2@{folder}/flagstone")
    await process.start()
    assert process.child is not None

    code = await asyncio.wait_for(process.child.wait(), HANG_SECONDS)

    assert code == 1
    assert "password authentication failed" in process.log
    assert "hunter2" not in process.log
    assert await helper.stop() == 0
