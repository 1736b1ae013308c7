"""Sessions over three instances: a link of the command line, sign-out, and a revoked token."""

import asyncio
import re
from collections.abc import Callable, Sequence

import pytest
from aiohttp import ClientSession

from tests.process.conftest import Process, run
from tests.waiting import HANG_SECONDS

PAGE = "/console/sessions"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


async def sign_in(client: ClientSession, process: Process, **form: str) -> str:
    """Sign in, and return the cookie as a header."""
    url = f"{process.url}/console/sign-in"
    async with client.post(url, data=form, headers=SAME_ORIGIN, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        return answer.headers["Set-Cookie"].partition(";")[0]


async def status_of(client: ClientSession, process: Process, cookie: str) -> int:
    headers = {"Cookie": cookie}
    async with client.get(process.url + PAGE, headers=headers, allow_redirects=False) as answer:
        return answer.status


async def until_all(
    client: ClientSession, processes: Sequence[Process], cookie: str, status: int
) -> None:
    """Wait until each instance answers with the status."""
    for process in processes:
        async with asyncio.timeout(HANG_SECONDS):
            while await status_of(client, process, cookie) != status:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_session_begins_and_ends_on_every_instance(
    three: list[Process], launch: Callable[..., Process]
) -> None:
    async with ClientSession() as client:
        code, output = await run(launch, "console", "link", "--scope", "read")
        assert code == 0, output
        match = re.search(r"[?]code=(\w+)", output)
        assert match is not None, output
        cookie = await sign_in(client, three[0], code=match[1])
        await until_all(client, three, cookie, 200)

        headers = {**SAME_ORIGIN, "Cookie": cookie}
        url = f"{three[1].url}/console/sign-out"
        async with client.post(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
        await until_all(client, three, cookie, 303)


@pytest.mark.slow
async def test_session_ends_with_its_token_on_every_instance(three: list[Process]) -> None:
    async with ClientSession() as client:
        body = {"name": "shop", "scopes": ["read"], "environments": ["local"]}
        url = f"{three[0].url}/v1/tokens"
        async with client.post(url, json=body, headers=three[0].headers) as answer:
            issued = await answer.json()
        cookie = await sign_in(client, three[0], token=issued["text"])
        await until_all(client, three, cookie, 200)

        url = f"{three[2].url}/v1/tokens/{issued['token']['id']}"
        async with client.delete(url, headers=three[2].headers) as answer:
            assert answer.status == 200

        await until_all(client, three, cookie, 303)
