"""Tokens over three instances: revocations spread, streams end; and the token commands."""

import asyncio
from collections.abc import Callable, Sequence

import psycopg
import pytest
from aiohttp import ClientResponse, ClientSession

from tests.process.conftest import Process, run
from tests.waiting import HANG_SECONDS

LOCAL = "/v1/environments/local"
ALL_FLAGS = f"{LOCAL}/ofrep/v1/evaluate/flags"
NEW = {"name": "shop", "scopes": ["read", "evaluate"], "environments": ["local"]}
GOOD = {200}
# An instance that did not know a new token yet has counted failures.
BAD = {401, 429}


async def make(client: ClientSession, process: Process) -> tuple[str, str]:
    """Create a token. Return its ID and its text."""
    async with client.post(f"{process.url}/v1/tokens", json=NEW, headers=process.headers) as answer:
        issued = await answer.json()
    return issued["token"]["id"], issued["text"]


async def status_of(client: ClientSession, process: Process, text: str) -> int:
    async with client.get(process.url + LOCAL, headers={"X-API-Key": text}) as answer:
        return answer.status


async def until_all(
    client: ClientSession, processes: Sequence[Process], text: str, statuses: set[int]
) -> None:
    """Wait until each instance answers with one of the statuses."""
    for process in processes:
        async with asyncio.timeout(HANG_SECONDS):
            while await status_of(client, process, text) not in statuses:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def revoke(client: ClientSession, process: Process, token_id: str) -> None:
    async with client.delete(
        f"{process.url}/v1/tokens/{token_id}", headers=process.headers
    ) as answer:
        assert answer.status == 200


async def open_streams(client: ClientSession, process: Process, text: str) -> list[ClientResponse]:
    """Open an event stream of each kind."""
    headers = {"X-API-Key": text}
    events = await client.get(f"{process.url}{LOCAL}/events", headers=headers)
    async with client.post(
        process.url + ALL_FLAGS, json={"context": {"targetingKey": "u"}}, headers=headers
    ) as answer:
        (stream,) = (await answer.json())["eventStreams"]
    streams = [events, await client.get(stream["url"])]
    for opened in streams:
        assert opened.status == 200
        await opened.content.readany()
    return streams


async def read_to_end(stream: ClientResponse) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while await stream.content.readany():
            pass


@pytest.mark.slow
async def test_revocation_holds_on_every_instance(
    three: list[Process], client: ClientSession
) -> None:
    for maker in three:
        token_id, text = await make(client, maker)
        await until_all(client, three, text, GOOD)
        streams = [
            stream for process in three for stream in await open_streams(client, process, text)
        ]

        await revoke(client, three[0], token_id)

        await until_all(client, three, text, BAD)
        await asyncio.gather(*map(read_to_end, streams))


@pytest.mark.slow
async def test_revocation_by_sql_holds_on_every_instance(
    three: list[Process], client: ClientSession
) -> None:
    """An update by psql sends no notification."""
    token_id, text = await make(client, three[0])
    await until_all(client, three, text, GOOD)
    url = (three[0].data_dir / "credentials/app.url").read_text().strip()

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "update flagstone.tokens set revoked_at = now() where id = %s", [token_id]
        )

    await until_all(client, three, text, BAD)


@pytest.mark.slow
async def test_token_commands(launch: Callable[..., Process], client: ClientSession) -> None:
    service = launch()
    await service.start()
    await service.ready()
    created = await run(launch, "token", "create", "ci", "--environment", "local")
    old = created[1].strip()
    old_id = old.split("_")[2]

    await until_all(client, [service], old, GOOD)
    rotated = await run(launch, "token", "rotate", old_id, "--grace-seconds", "3600")
    new = next(line for line in rotated[1].splitlines() if line.startswith("fs_srv_"))
    await until_all(client, [service], new, GOOD)
    in_grace = await status_of(client, service, old)
    again = await run(launch, "token", "rotate", old_id)
    shown = await run(launch, "token", "show", old_id)
    revoked = await run(launch, "token", "revoke", old_id)
    await until_all(client, [service], old, BAD)
    listed = await run(launch, "token", "list")
    unknown = await run(launch, "token", "show", "0123456789abc")
    forever = await run(
        launch,
        "token",
        "create",
        "x",
        "--scope",
        "admin",
        "--environment",
        "*",
        "--expires-days",
        "366",
    )

    assert (created[0], rotated[0], revoked[0], listed[0]) == (0, 0, 0, 0)
    assert in_grace == 200
    assert (again[0], f"was already replaced by {new.split('_')[2]}" in again[1]) == (1, True)
    assert new.split("_")[2] in shown[1]
    assert "revoked" in listed[1]
    assert not {old, new} & {*listed[1].split(), *shown[1].split()}
    assert (unknown[0], "There is no such token" in unknown[1]) == (1, True)
    assert (forever[0], "must be from 1 to 365 for an admin token" in forever[1]) == (1, True)
    assert await service.stop() == 0
    assert old not in service.log
    assert new not in service.log
