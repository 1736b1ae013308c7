"""Scheduled proposals when a replica is killed, and when the database is away at their time."""

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process
from tests.waiting import until

CHANGES = "/v1/environments/local/changes"


async def _call(
    client: ClientSession,
    process: Process,
    method: str,
    path: str,
    body: Any = None,
    **headers: str,
) -> Any:
    headers = process.headers | {name.replace("_", "-"): text for name, text in headers.items()}
    url = process.url + path
    async with client.request(method, url, json=body, headers=headers) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def _schedule(
    client: ClientSession, process: Process, key: str, seconds: float
) -> tuple[str, datetime]:
    """Schedule the creation of a key. Return the path of the proposal, and its time."""
    operation = {"op": "put", "key": key, "version": 0, "value": 1}
    body = {"title": key, "environment": "local", "operations": [operation]}
    proposal = await _call(client, process, "POST", "/v1/proposals", body)
    path = f"/v1/proposals/{proposal['id']}"
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    schedule = {"apply_at": at.isoformat()}
    await _call(client, process, "POST", f"{path}/schedule", schedule, If_Match='"1"')
    return path, at


async def _applied(client: ClientSession, process: Process, path: str) -> datetime:
    """Wait until a proposal is applied, and return when."""

    async def is_applied() -> bool:
        return bool((await _call(client, process, "GET", path))["state"] == "applied")

    await until(is_applied)
    events = (await _call(client, process, "GET", path))["events"]
    assert [event["event"] for event in events].count("applied") == 1
    return datetime.fromisoformat(events[-1]["at"])


@pytest.mark.slow
async def test_killed_replica_leaves_no_proposal_half_applied(
    launch_beside: Callable[..., Process], client: ClientSession
) -> None:
    replicas = [launch_beside(INSTANCE_ID=name) for name in ("a", "b")]
    for replica in replicas:
        await replica.start()
        await replica.ready()
    victim, survivor = replicas
    scheduled = [await _schedule(client, victim, f"k{n}", 2 + n / 50) for n in range(20)]

    # In the middle of the times of the 20 proposals.
    await asyncio.sleep((scheduled[9][1] - datetime.now(UTC)).total_seconds())
    await victim.stop(signal.SIGKILL)
    for path, at in scheduled:
        assert await _applied(client, survivor, path) >= at

    # The chain has each proposal once, without gaps.
    page = await _call(client, survivor, "GET", f"{CHANGES}?limit=100")
    kinds = [item["kind"] for item in page["items"]]
    assert kinds.count("proposal") == 20
    assert len({item["message"] for item in page["items"] if item["kind"] == "proposal"}) == 20


@pytest.mark.slow
async def test_proposal_is_applied_when_the_database_is_back(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    process = launch()
    await process.start()
    await process.ready()
    path, at = await _schedule(client, process, "late", 1)

    postmaster = process.postmaster()
    postmaster.send_signal(signal.SIGSTOP)
    children = postmaster.children()
    for child in children:
        child.send_signal(signal.SIGSTOP)
    await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()) + 1)
    for child in (*children, postmaster):
        child.send_signal(signal.SIGCONT)

    applied_at = await _applied(client, process, path)
    assert applied_at >= at
    assert await process.stop() == 0


@pytest.mark.slow
async def test_proposal_of_a_stopped_service_is_applied_at_the_start(
    launch_beside: Callable[..., Process], client: ClientSession
) -> None:
    first = launch_beside()
    await first.start()
    await first.ready()
    path, at = await _schedule(client, first, "down", 0.5)
    assert await first.stop() == 0
    await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))

    second = launch_beside()
    await second.start()
    await second.ready()

    assert await _applied(client, second, path) >= at
