"""flagd's official in-process providers follow the service by gRPC, and answer as OFREP does."""

import asyncio
import json
import os
import queue
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from tests.paths import ROOT
from tests.ports import free_port
from tests.process.conftest import Process
from tests.process.docs.pages import Page
from tests.waiting import HANG_SECONDS

CLIENTS = ROOT / "tests/process/clients"
LOCAL = "/v1/environments/local"
DOCUMENT = json.loads(Path(__file__).with_name("rich_flags.json").read_text())
# The default of a call has the type of the flag's values.
DEFAULTS = {
    key: type(next(iter(flag["variants"].values())))() for key, flag in DOCUMENT["flags"].items()
}
CONTEXTS: list[dict[str, Any]] = [
    {"targetingKey": "anyone"},
    {"targetingKey": "ada", "email": "ada@example.org", "country": "de", "age": 70},
    {"targetingKey": "no-country", "country": "", "age": 18, "version": "2.1.0"},
    {"targetingKey": "old", "version": "2.0.9", "age": 17.5},
    {"targetingKey": "odd", "version": "no version", "email": 5, "age": "64"},
    *(
        {
            "targetingKey": f"user-{n}",
            "email": f"u{n}@example.{('org', 'com')[n % 2]}",
            "country": ("de", "fr", "at", "jp")[n % 4],
            "age": n * 3,
            "version": f"{n % 4}.{n % 3}.0",
        }
        for n in range(40)
    ),
]

needs_clients = pytest.mark.skipif(
    not (CLIENTS / "node_modules/@openfeature/flagd-provider").is_dir(),
    reason="Node's clients are installed by make clients",
)


class Provider:
    """Python's provider, and its events."""

    def __init__(self, port: int) -> None:
        self._provider = FlagdProvider(
            host="127.0.0.1",
            port=port,
            resolver_type=ResolverType.IN_PROCESS,
            selector="flagSetId=local",
            deadline_ms=int(HANG_SECONDS * 1_000),
            retry_backoff_ms=100,
            retry_backoff_max_ms=200,
        )
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._provider.attach(lambda _, event, details: self._events.put((event.value, details)))

    async def start(self) -> None:
        await asyncio.to_thread(self._provider.initialize, EvaluationContext())

    async def next(self, event: str) -> Any:
        """Return the details of the next event of this kind."""

        def wait() -> Any:
            while True:
                kind, details = self._events.get(timeout=HANG_SECONDS)
                if kind == event:
                    return details

        return await asyncio.to_thread(wait)

    def evaluate(self, key: str, default: Any, context: dict[str, Any]) -> dict[str, Any]:
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        user = EvaluationContext(context["targetingKey"], attributes)
        resolvers: dict[type, Any] = {
            bool: self._provider.resolve_boolean_details,
            str: self._provider.resolve_string_details,
            int: self._provider.resolve_integer_details,
            float: self._provider.resolve_float_details,
            dict: self._provider.resolve_object_details,
        }
        try:
            found = resolvers[type(default)](key, default, user)
        except OpenFeatureError as error:
            return {"errorCode": error.error_code.value}
        return {"value": found.value, "variant": found.variant, "reason": str(found.reason)}

    def close(self) -> None:
        self._provider.shutdown()


@contextmanager
def _provider(port: int) -> Iterator[Provider]:
    provider = Provider(port)
    try:
        yield provider
    finally:
        provider.close()


async def _import(client: ClientSession, process: Process, document: Any) -> None:
    async with client.post(
        f"{process.url}{LOCAL}/import",
        params={"format": "flagd", "mode": "merge"},
        json=document,
        headers=process.headers,
    ) as answer:
        assert answer.status == 200, await answer.text()


async def _ofrep(
    client: ClientSession, process: Process, key: str, context: dict[str, Any]
) -> dict[str, Any]:
    async with client.post(
        f"{process.url}{LOCAL}/ofrep/v1/evaluate/flags/{key}",
        json={"context": context},
        headers=process.headers,
    ) as answer:
        body = await answer.json()
    if "errorCode" in body:
        return {"errorCode": body["errorCode"]}
    return {name: body.get(name) for name in ("value", "variant", "reason")}


@asynccontextmanager
async def _served(
    launch: Callable[..., Process],
    client: ClientSession,
    fractional: str = "v3",
    **environment: str,
) -> AsyncIterator[tuple[Process, int]]:
    """Run a service with the flags. `fractional` is the generation that the provider has."""
    port = free_port()
    process = launch(GRPC_PORT=str(port), **environment)
    await process.start()
    await process.ready()
    async with client.patch(
        process.url + LOCAL,
        json={"fractional": fractional},
        headers=process.headers | {"If-Match": "*"},
    ) as answer:
        assert answer.status == 200, await answer.text()
    await _import(client, process, DOCUMENT)
    yield process, port
    assert await process.stop() == 0, process.log


async def _differences(
    client: ClientSession, process: Process, evaluate: Callable[[str, Any, Any], dict[str, Any]]
) -> list[Any]:
    different = []
    for context in CONTEXTS:
        for key, default in DEFAULTS.items():
            ours = await _ofrep(client, process, key, context)
            theirs = evaluate(key, default, context)
            if ours.get("reason") == "DISABLED":
                # OFREP has no value then, and the provider returns the caller's default.
                ours, theirs = {**ours, "value": default}, {**theirs, "variant": ours["variant"]}
            if ours != theirs:
                different.append((key, context, ours, theirs))
    return different


@pytest.mark.slow
async def test_python_provider_answers_as_ofrep(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    async with _served(launch, client) as (process, port):
        with _provider(port) as provider:
            await provider.start()
            different = await _differences(client, process, provider.evaluate)

    assert different == []


async def test_python_provider_hears_of_a_change(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    async with _served(launch, client) as (process, port):
        with _provider(port) as provider:
            await provider.start()
            await provider.next("PROVIDER_CONFIGURATION_CHANGED")
            changed = DOCUMENT["flags"]["static"] | {"defaultVariant": "off"}
            await _import(client, process, {"flags": {"static": changed}})
            details = await provider.next("PROVIDER_CONFIGURATION_CHANGED")
            answer = provider.evaluate("static", True, {"targetingKey": "u"})

    assert details.flags_changed == ["static"]
    assert answer["value"] is False


@pytest.mark.slow
async def test_python_provider_continues_without_database_and_restarts(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    async with _served(launch, client) as (process, port):
        process.postmaster().suspend()
        try:
            with _provider(port) as provider:
                await provider.start()
                static = provider.evaluate("static", False, {"targetingKey": "u"})
        finally:
            process.postmaster().resume()
        with _provider(port) as provider:
            await provider.start()
            assert await process.stop() == 0
            await process.start()
            await process.ready()
            changed = DOCUMENT["flags"]["static"] | {"defaultVariant": "off"}
            await _import(client, process, {"flags": {"static": changed}})
            while provider.evaluate("static", True, {"targetingKey": "u"})["value"]:
                await provider.next("PROVIDER_CONFIGURATION_CHANGED")

    assert static["value"] is True


@pytest.mark.slow
async def test_workers_share_the_port(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    async with _served(launch, client, WORKERS="2") as (process, port):
        providers = [Provider(port) for _ in range(8)]
        try:
            for provider in providers:
                await provider.start()
            answers = [
                provider.evaluate("static", False, {"targetingKey": "u"}) for provider in providers
            ]
            second = launch(PORT=str(free_port()), GRPC_PORT=str(port))
            await second.start()
            assert second.child is not None
            code = await second.child.wait()
        finally:
            for provider in providers:
                provider.close()

    assert [answer["value"] for answer in answers] == [True] * 8
    assert code == 1
    assert f"GRPC_PORT: {port} is already in use" in second.log
    assert process.log.count("flagd_sync_listening") == 2


async def test_python_provider_follows_a_relay(
    launch: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    port = free_port()
    async with _served(launch, client) as (process, _):
        body = {"name": "edge", "scopes": ["relay"], "environments": ["*"]}
        async with client.post(
            f"{process.url}/v1/tokens", json=body, headers=process.headers
        ) as answer:
            token = (await answer.json())["text"]
        relay = launch(
            DATA_DIR=str(tmp_path),
            RELAY_UPSTREAM=process.url,
            RELAY_TOKEN=token,
            GRPC_PORT=str(port),
        )
        await relay.start("relay")
        await relay.ready()
        with _provider(port) as provider:
            await provider.start()
            changed = DOCUMENT["flags"]["static"] | {"defaultVariant": "off"}
            await _import(client, process, {"flags": {"static": changed}})
            while provider.evaluate("static", True, {"targetingKey": "u"})["value"]:
                await provider.next("PROVIDER_CONFIGURATION_CHANGED")
            assert await relay.stop() == 0


@pytest.mark.slow
async def test_examples_of_the_page_work(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    blocks = Page(ROOT / "docs/flagd-sync.md").blocks
    python = next(block.text for block in blocks if block.language == "python")
    curl = next(block.text for block in blocks if "curl" in block.text)
    async with _served(launch, client) as (process, port):
        program = python.replace("8015", str(port))
        value = await _output(process, sys.executable, "-c", program)
        answers = await _output(process, "sh", "-ec", curl.replace("8080", str(process.port)))

    assert value == "True\n"
    assert answers.count('"$schema"') == answers.count('\\"$schema\\"') == 1


async def _output(process: Process, *command: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "TOKEN": process.token}, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(HANG_SECONDS):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0
    return output.decode()


@needs_clients
async def test_javascript_provider_answers_as_ofrep_and_follows(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    questions = [[key, default] for key, default in DEFAULTS.items()]
    async with _served(launch, client, fractional="v2") as (process, port):
        given = {"port": port, "questions": questions, "contexts": CONTEXTS}
        node = await asyncio.create_subprocess_exec(
            *("node", CLIENTS / "flagd.cjs", json.dumps(given)),
            env={"PATH": os.environ["PATH"], "NODE_PATH": str(CLIENTS / "node_modules")},
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        try:
            assert node.stdout is not None
            async with asyncio.timeout(HANG_SECONDS):
                outcomes = iter(json.loads(await node.stdout.readline()))
                different = await _differences(client, process, lambda *_: dict(next(outcomes)))
                changed = DOCUMENT["flags"]["static"] | {"defaultVariant": "off"}
                await _import(client, process, {"flags": {"static": changed}})
                event = json.loads(await node.stdout.readline())
        finally:
            node.kill()
            await node.wait()

    assert different == []
    assert event == {"flagsChanged": ["static"], "value": False}
