"""The command `audit` next to a service that signs its heads."""

import asyncio
import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.conftest import Server
from tests.process.conftest import Process, put, run
from tests.waiting import until


@pytest.mark.slow
async def test_history_is_signed_as_it_grows_and_verified_later(
    launch_beside: Callable[..., Process], server: Server, client: ClientSession
) -> None:
    service = launch_beside()
    await service.start()
    await service.ready()
    heads = service.data_dir / "audit-heads.jsonl"
    for number in range(3):
        assert await put(client, service, f"key/{number}", number) == 201

    printed = await run(launch_beside, "audit", "heads")
    holds = await run(launch_beside, "audit", "verify", "local", "staging")
    # A service signs the current heads when it starts.
    assert await service.stop() == 0
    await service.start()
    # The first revision is that of the test data.
    await until(lambda: _is_signed(heads, 4))
    assert await service.stop() == 0
    url = urllib.parse.urlsplit(service.environment["DATABASE_URL"])
    with server.admin(url.path.lstrip("/")) as connection:
        connection.execute("update flagstone.change_sets set actor = 'x' where revision = 2")
    broken = await run(launch_beside, "audit", "verify")
    as_json = await run(launch_beside, "audit", "verify", "local", "--json")
    unknown = await run(launch_beside, "audit", "verify", "nowhere")
    foreign = await run(launch_beside, "audit", "verify", "--public-key", "A" * 43)

    head = json.loads(printed[1].splitlines()[-1])
    assert (head["environment"], head["revision"]) == ("local", 4)
    assert holds[0] == 0
    assert holds[1].count("holds") == 2
    assert broken[0] == 1
    assert "revision 2 does not match its hash" in broken[1]
    content = json.loads(as_json[1].splitlines()[-1])
    assert (content["holds"], content["environment"], content["revision"]) == (False, "local", 2)
    assert (unknown[0], "no such environment" in unknown[1]) == (1, True)
    assert (foreign[0], "line 1 is not a head that this key has signed" in foreign[1]) == (1, True)


async def _is_signed(heads: Path, revision: int) -> bool:
    return f'"revision":{revision},' in await asyncio.to_thread(heads.read_text)
