"""OpenFeature's own clients, as applications use them: in Python, in Node, and as a page does."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from tests.process.conftest import Process

CLIENTS = Path(__file__).parent / "clients"
ADULT = {"targetingKey": "somebody", "age": 18}
FLAGS: dict[str, Any] = {
    "new": {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{">=": [{"var": "age"}, 18]}, "on"]},
    },
    "colour": {"state": "ENABLED", "variants": {"red": "#f00"}, "defaultVariant": "red"},
    "size": {"state": "ENABLED", "variants": {"large": 1.5}, "defaultVariant": "large"},
    "theme": {"state": "ENABLED", "variants": {"dark": {"ink": "white"}}, "defaultVariant": "dark"},
    "off": {"state": "DISABLED", "variants": {"on": False}, "defaultVariant": "on"},
}
node = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENTS / "node_modules").is_dir(),
    reason="Node's clients are not there; with npm, `make clients` installs them",
)


async def _put(client: ClientSession, service: Process, key: str, value: Any) -> None:
    place = f"{service.url}/v1/environments/local/configurations/{key}"
    async with client.get(place, headers=service.headers) as found:
        etag = found.headers.get("ETag")
    headers = service.headers | ({"If-Match": etag} if etag else {"If-None-Match": "*"})
    content = {"kind": "flag", "value": value}
    async with client.put(place, json=content, headers=headers) as answer:
        assert answer.status in {200, 201}, await answer.text()


@pytest.fixture
async def service(launch: Callable[..., Process], client: ClientSession) -> Process:
    process = launch(SEED_ON_START="false")
    await process.start()
    await process.ready()
    for key, value in FLAGS.items():
        await _put(client, process, key, value)
    return process


def _arguments(service: Process) -> tuple[str, str, str]:
    return f"{service.url}/v1/environments/local", service.token, json.dumps(ADULT)


async def test_the_python_client_gets_values_defaults_and_errors(service: Process) -> None:
    place, token, _ = _arguments(service)
    provider = OFREPProvider(place, headers_factory=lambda: {"Authorization": f"Bearer {token}"})

    def evaluate() -> list[tuple[Any, Any, Any, Any]]:
        api.set_provider(provider)
        client = api.get_client()
        context = EvaluationContext("somebody", {"age": 18})
        found = [
            client.get_boolean_details("new", False, context),
            client.get_boolean_details("new", False),
            client.get_string_details("colour", "none", context),
            client.get_float_details("size", 0.0, context),
            client.get_object_details("theme", {}, context),
            client.get_string_details("nowhere", "mine", context),
            client.get_boolean_details("colour", True, context),
        ]
        return [(each.value, each.variant, each.reason, each.error_code) for each in found]

    found = await asyncio.to_thread(evaluate)

    assert found == [
        (True, "on", "TARGETING_MATCH", None),
        (False, "off", "DEFAULT", None),
        ("#f00", "red", "STATIC", None),
        (1.5, "large", "STATIC", None),
        ({"ink": "white"}, "dark", "STATIC", None),
        ("mine", None, "ERROR", "FLAG_NOT_FOUND"),
        (True, None, "ERROR", "TYPE_MISMATCH"),
    ]


@node
async def test_the_server_client_gets_values_defaults_and_errors(service: Process) -> None:
    child = await asyncio.create_subprocess_exec(
        "node", "server.mjs", *_arguments(service), cwd=CLIENTS, stdout=PIPE
    )
    output, _ = await asyncio.wait_for(child.communicate(), 20)

    found = json.loads(output)
    told = {
        name: (each["value"], each.get("variant"), each["reason"], each.get("errorCode"))
        for name, each in found.items()
    }
    assert told == {
        "boolean": (True, "on", "TARGETING_MATCH", None),
        "string": ("#f00", "red", "STATIC", None),
        "number": (1.5, "large", "STATIC", None),
        "object": ({"ink": "white"}, "dark", "STATIC", None),
        # This client takes an answer without a value for an error; the caller's default it is.
        "disabled": (True, None, "ERROR", "GENERAL"),
        "missing": ("mine", None, "ERROR", "FLAG_NOT_FOUND"),
        "mismatched": (True, None, "ERROR", "TYPE_MISMATCH"),
    }


@asynccontextmanager
async def _page(service: Process) -> AsyncIterator[Callable[[], Any]]:
    """Run a page, and give what tells the next thing that it printed."""
    child = await asyncio.create_subprocess_exec(
        "node", "web.mjs", *_arguments(service), cwd=CLIENTS, stdin=PIPE, stdout=PIPE
    )
    assert child.stdout is not None
    stdout = child.stdout

    async def told() -> dict[str, Any]:
        line = await asyncio.wait_for(stdout.readline(), 20)
        found: dict[str, Any] = json.loads(line)
        return found

    try:
        yield told
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


@node
async def test_a_page_has_what_is_changed_on_another_replica_and_after_it_was_cut_off(
    service: Process, launch: Callable[..., Process], client: ClientSession
) -> None:
    replica = launch()
    await replica.start()
    await replica.ready()
    turned_off = FLAGS["new"] | {"targeting": {}}

    async with _page(replica) as told:
        first = await told()
        await _put(client, service, "new", turned_off)
        second = await told()
        await replica.stop()
        await _put(client, service, "new", FLAGS["new"])
        await replica.start()
        third = await told()

    assert [each["new"]["value"] for each in (first, second, third)] == [True, False, True]
    assert [each["new"]["reason"] for each in (first, second, third)] == [
        "TARGETING_MATCH",
        "STATIC",
        "TARGETING_MATCH",
    ]
