"""Relays as processes: no evaluation fails while the service is killed and started again."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process, put, run
from tests.waiting import until

LOCAL = "/v1/environments/local"
KEY = f"{LOCAL}/configurations/retries"


async def relay_token(client: ClientSession, service: Process) -> str:
    body = {"name": "edge", "scopes": ["relay"], "environments": ["*"]}
    async with client.post(
        f"{service.url}/v1/tokens", json=body, headers=service.headers
    ) as answer:
        text: str = (await answer.json())["text"]
        return text


@pytest.mark.slow
async def test_relay_of_a_relay_serves_while_the_service_is_gone(
    launch: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    service = launch()
    await service.start()
    await service.ready()
    token, headers = await relay_token(client, service), service.headers
    relays: list[Process] = []
    for number, workers in ((1, "2"), (2, "1")):
        folder = tmp_path / f"relay-{number}"
        folder.mkdir()
        relay = launch(
            DATA_DIR=str(folder),
            RELAY_UPSTREAM=relays[-1].url if relays else service.url,
            RELAY_TOKEN=token,
            WORKERS=workers,
        )
        # Forks of one process are workers of one relay.
        relay.is_fork = False
        await relay.start("relay")
        await relay.ready()
        relays.append(relay)
    edge = relays[-1]
    statuses: list[int] = []

    async def evaluate() -> None:
        while True:
            async with client.post(
                f"{edge.url}{LOCAL}/ofrep/v1/evaluate/flags", json={}, headers=headers
            ) as answer:
                statuses.append(answer.status)
            await asyncio.sleep(0.02)

    async def has(value: int) -> bool:
        async with client.get(f"{edge.url}{KEY}", headers=headers) as answer:
            return answer.status == 200 and (await answer.json())["value"] == value

    evaluating = asyncio.create_task(evaluate())
    assert await put(client, service, "retries", 1) == 201
    await until(lambda: has(1))
    await service.stop(signal.SIGKILL)
    asked = len(statuses)

    async def has_asked() -> bool:
        return len(statuses) >= asked + 50

    await until(has_asked)
    await service.start()
    await service.ready()
    async with client.get(f"{service.url}{KEY}", headers=headers) as answer:
        etag = answer.headers["ETag"]
    async with client.put(
        f"{service.url}{KEY}", json={"value": 2}, headers={**headers, "If-Match": etag}
    ) as answer:
        assert answer.status == 200
    await until(lambda: has(2))
    evaluating.cancel()
    codes = [await relay.stop() for relay in reversed(relays)]

    assert set(statuses) == {200}
    assert codes == [0, 0]
    assert all(token not in relay.log and "Traceback" not in relay.log for relay in relays)


async def test_service_with_an_upstream_refuses_to_serve(launch: Callable[..., Process]) -> None:
    upstream = {"RELAY_UPSTREAM": "http://127.0.0.1:9", "RELAY_TOKEN": "a" * 40}
    code, output = await run(launch, "serve", **upstream)

    assert code == 1
    assert "RELAY_UPSTREAM: is for `relay`" in output


async def test_relay_without_settings_names_them(launch: Callable[..., Process]) -> None:
    without = await run(launch, "relay")
    tokenless = await run(launch, "relay", RELAY_UPSTREAM="http://127.0.0.1:9")
    with_database = await run(
        launch,
        "relay",
        RELAY_UPSTREAM="http://127.0.0.1:9",
        RELAY_TOKEN="a" * 40,
        DATABASE_URL="postgresql://app@localhost/flagstone",
    )

    assert [code for code, _ in (without, tokenless, with_database)] == [1, 1, 1]
    assert "RELAY_UPSTREAM: is required" in without[1]
    assert "RELAY_TOKEN: is required with RELAY_UPSTREAM" in tokenless[1]
    assert "a relay has no database" in with_database[1]
