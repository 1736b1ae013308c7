"""The texts that the console offers to copy work as printed, in a shell."""

import asyncio
import json
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from app.configuration.changes.requests import DeleteOperation, PutOperation
from app.console.copying.texts import PLACEHOLDER, SECRET_FILE, copy_texts
from tests.factories import flag
from tests.process import forks
from tests.process.conftest import Process, run
from tests.waiting import HANG_SECONDS

HOSTILE = 'it\'s "$HOME" `id` !! \\ $(id)\n\t%s é \U0001f600 -- <b>'
SCHEMA = {"type": "number", "title": HOSTILE}
# Each write follows the one before. It is made by curl in one environment, by a command in another.
WRITES: tuple[tuple[list[PutOperation | DeleteOperation], str], ...] = (
    ([PutOperation(key="text", version=0, value=HOSTILE)], HOSTILE),
    ([PutOperation(key="text", version=1, value={HOSTILE: [None, HOSTILE]})], ""),
    ([PutOperation(key="low", version=0, value=-5, description=HOSTILE)], "--message"),
    ([PutOperation(key="low", version=1, value=-7.5, schema=SCHEMA)], "with a schema"),
    ([PutOperation(key="a/f", version=0, value=flag(), kind="flag", description=HOSTILE)], "-m"),
    ([PutOperation(key="a/f", version=1, value=flag(x=HOSTILE), kind="flag")], "no description"),
    ([PutOperation(key="s", version=0, value={"in": [1, []]}, kind="segment")], ""),
    ([PutOperation(key="secret", version=0, value="hunter2", kind="secret")], "secret"),
    ([PutOperation(key="n", version=0, value=None), DeleteOperation(key="low", version=2)], "two"),
    ([DeleteOperation(key="text", version=2)], HOSTILE),
)


@pytest.mark.slow
async def test_copied_texts_write_the_same(
    launch_beside: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    ring = tmp_path / "key-ring"
    assert (await run(launch_beside, "key", "generate", "--file", str(ring)))[0] == 0
    service = launch_beside(KEY_RING_FILE=str(ring))
    await service.start()
    await service.ready()
    forks.link_environment(tmp_path)

    async def shell(text: str) -> None:
        environ = {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "FLAGSTONE_URL": service.url,
            "FLAGSTONE_TOKEN": service.token,
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", text),
            env=environ,
            cwd=tmp_path,
            pass_fds=[forks.control().fileno()],
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(HANG_SECONDS):
            output, _ = await process.communicate()
        assert process.returncode == 0, (text, output.decode())

    async def state(environment: str) -> Any:
        path = f"{service.url}/v1/environments/{environment}"
        async with client.get(f"{path}/changes", headers=service.headers) as answer:
            changes = (await answer.json())["items"]
        names = ("revision", "message", "changes")
        return [{name: item[name] for name in names} for item in changes]

    (tmp_path / SECRET_FILE).write_text('"hunter2"')
    for operations, message in WRITES:
        by_curl = copy_texts(service.url, "staging", operations, message)
        by_command = copy_texts(service.url, "production", operations, message)
        assert by_curl is not None
        assert by_command is not None
        assert "hunter2" not in by_curl.curl + by_command.command
        await shell(by_curl.curl.replace(PLACEHOLDER, "hunter2"))
        await shell(by_command.command)
    assert await state("staging") == await state("production")
    assert json.dumps(await state("staging")).count('"revision"') == len(WRITES)
    assert await service.stop() == 0


def test_large_write_has_no_texts() -> None:
    operation = PutOperation(key="k", version=0, value="x" * 40_000)

    assert copy_texts("http://127.0.0.1", "local", [operation], "") is None
