"""The stock OpenFeature SDKs of JavaScript with their OFREP providers: server, web and React.

`make clients` installs them.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.paths import ROOT
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

CLIENTS = ROOT / "tests/process/clients"
LOCAL = "/v1/environments/local"
CHANGES = 10

pytestmark = pytest.mark.skipif(
    not (CLIENTS / "node_modules").is_dir(), reason="Node's clients are installed by make clients"
)


async def _node(script: str, given: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("node", CLIENTS / script, json.dumps(given)),
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(CLIENTS / "node_modules")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _details(process: Process, questions: list[Any], **headers: str) -> list[Any]:
    """Evaluate with the server SDK."""
    headers = headers or process.headers
    given = {"baseUrl": process.url + LOCAL, "headers": headers, "questions": questions}
    node = await _node("server.cjs", given)
    output, _ = await asyncio.wait_for(node.communicate(), HANG_SECONDS)
    return [json.loads(line) for line in output.splitlines()]


class Page:
    """A page with the web SDK, which shows the flag `greeting`."""

    def __init__(self, node: asyncio.subprocess.Process) -> None:
        self._node = node

    async def next(self, event: str, **expected: Any) -> dict[str, Any]:
        """Return the page's next event of this name that meets the condition."""
        assert self._node.stdout is not None
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                message: dict[str, Any] = json.loads(await self._node.stdout.readline())
                if message["event"] == event and expected.items() <= message.items():
                    return message

    def use(self, **context: Any) -> None:
        assert self._node.stdin is not None
        self._node.stdin.write(json.dumps(context).encode() + b"\n")


@asynccontextmanager
async def _page(process: Process, **headers: str) -> AsyncIterator[Page]:
    given = {
        "baseUrl": process.url + LOCAL,
        "headers": headers or process.headers,
        "flag": "greeting",
        "context": {"targetingKey": "user-1"},
    }
    node = await _node("web.cjs", given)
    try:
        yield Page(node)
    finally:
        with suppress(ProcessLookupError):
            node.kill()
        await node.wait()


async def _put(client: ClientSession, process: Process, key: str, value: Any, version: int) -> None:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    async with client.put(
        f"{process.url}{LOCAL}/configurations/{key}",
        json={"value": value, "kind": "flag"},
        headers=process.headers | condition,
    ) as answer:
        assert answer.status in {200, 201}, await answer.text()


async def _put_unchecked(client: ClientSession, process: Process, key: str, value: Any) -> None:
    """Store an invalid flag, which only a lenient import accepts."""
    async with client.post(
        f"{process.url}{LOCAL}/import",
        params={"format": "flagd", "lenient": "true"},
        json={"flags": {key: value}},
        headers=process.headers,
    ) as answer:
        assert answer.status == 200, await answer.text()


def _flag(*values: Any, **more: Any) -> dict[str, Any]:
    variants = {f"v{number}": value for number, value in enumerate(values)}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": "v0"} | more


def _greeting(word: str) -> dict[str, Any]:
    targeting = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v1"]}
    return _flag(word, f"{word}, pro", targeting=targeting)


def _turning(at: int) -> dict[str, Any]:
    condition = {">=": [{"var": "$flagd.timestamp"}, at]}
    return _flag("day", "night", targeting={"if": [condition, "v1"]})


@pytest.fixture
async def served(launch: Callable[..., Process], client: ClientSession) -> Process:
    process = launch()
    await process.start()
    await process.ready()
    await _put(client, process, "greeting", _greeting("hello"), 0)
    return process


async def test_javascript_on_a_server_gets_values_defaults_and_errors(
    served: Process, client: ClientSession
) -> None:
    values = {"Boolean": True, "String": "ü 🚩", "Number": 1.5, "Object": {"a": [1, None]}}
    fallbacks = {"Boolean": False, "String": "", "Number": 0, "Object": {}}
    for kind, value in values.items():
        await _put(client, served, f"typed/{kind}", _flag(value), 0)
    await _put(client, served, "off", _flag("on", state="DISABLED"), 0)
    await _put_unchecked(client, served, "failing", _flag("on", targeting={"if": [True, "none"]}))

    def question(key: str, kind: str = "String", **context: Any) -> dict[str, Any]:
        return {"type": kind, "key": key, "fallback": fallbacks[kind], "context": context}

    typed = await _details(served, [question(f"typed/{kind}", kind) for kind in values])
    greeted = await _details(
        served, [question("greeting"), question("greeting", targetingKey="u", plan="pro")]
    )
    left = await _details(served, [question(key) for key in ("nothing", "failing", "off")])
    (refused,) = await _details(served, [question("greeting")], Authorization="Bearer nonsense")

    assert [details["value"] for details in typed] == list(values.values())
    assert {details["reason"] for details in typed} == {"STATIC"}
    assert [details["value"] for details in greeted] == ["hello", "hello, pro"]
    assert [details["value"] for details in left] == ["", "", ""]
    # Version 0.1.3 treats an answer without a value as an error, and also uses the default.
    assert [details["errorCode"] for details in left] == ["FLAG_NOT_FOUND", "GENERAL", "GENERAL"]
    assert (refused["value"], refused["reason"]) == ("", "ERROR")


async def test_react_component_shows_its_flag(served: Process) -> None:
    given = {
        "baseUrl": served.url + LOCAL,
        "headers": served.headers,
        "flag": "greeting",
        "context": {"targetingKey": "user-1", "plan": "pro"},
    }

    node = await _node("react.mjs", given)
    output, _ = await asyncio.wait_for(node.communicate(), HANG_SECONDS)

    assert output.decode() == "<p>hello, pro</p>\n"


async def test_page_follows_its_context_and_revalidates(served: Process) -> None:
    async with _page(served) as page:
        first = await page.next("Ready")
        page.use(targetingKey="user-1", plan="pro")
        fetched = await page.next("fetched", status=200)
        changed = await page.next("ContextChanged")
        page.use(targetingKey="user-1", plan="pro")
        unchanged = await page.next("fetched", status=304)
        still = await page.next("ContextChanged")
    async with _page(served, Authorization="Bearer nonsense") as page:
        refused = await page.next("refused")

    assert (first["value"], changed["value"], still["value"]) == ("hello", *["hello, pro"] * 2)
    assert fetched["known"] != unchanged["known"]
    assert refused["value"] == "default"


async def test_page_gets_changes_and_reconnects_after_a_restart(
    served: Process, client: ClientSession
) -> None:
    async with _page(served) as page:
        await page.next("Ready", value="hello")
        await page.next("fetched", status=304)
        await _put(client, served, "greeting", _greeting("salve"), 1)
        event = await page.next("ConfigurationChanged")
        assert await served.stop() == 0
        await page.next("Stale")
        await served.start()
        await served.ready()
        await _put(client, served, "greeting", _greeting("moin"), 2)
        await page.next("ConfigurationChanged", value="moin")

    assert event["value"] == "salve"


async def test_page_sees_a_flag_that_turns_by_itself(
    served: Process, client: ClientSession
) -> None:
    async with _page(served) as page:
        await page.next("Ready", value="hello")
        await page.next("fetched", status=304)
        # First with a late time, so that a slow machine sees the day as well.
        await _put(client, served, "greeting", _turning(4_000_000_000), 1)
        await page.next("ConfigurationChanged", value="day")
        soon = int(time.time()) + 5
        await _put(client, served, "greeting", _turning(soon), 2)
        turned = await page.next("ConfigurationChanged", value="night")

    assert turned["at"] >= soon


async def test_page_of_one_instance_sees_changes_of_another(
    served: Process, launch: Callable[..., Process], client: ClientSession
) -> None:
    url = (served.data_dir / "credentials/app.url").read_text().strip()
    replica = launch(DATABASE_URL=url, MIGRATE_ON_START="false")
    await replica.start()
    await replica.ready()

    async with _page(replica) as page:
        await page.next("Ready")
        await page.next("fetched", status=304)
        for number in range(CHANGES):
            await _put(client, served, "greeting", _greeting(f"hello {number}"), number + 1)
            await page.next("ConfigurationChanged", value=f"hello {number}")
