"""Requests that nobody thought of: made from the OpenAPI document, sent to the running service.

Statuses, content types, headers and shapes must be the document's, bad requests must be refused,
and none may end in a 500. `schemathesis.toml` says what is drawn and what is left out, and why.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from app.http.keys import DURATIONS
from app.http.openapi import document
from app.routes import ROUTES
from tests.conftest import Service

ROOT = Path(__file__).parents[2]


async def _generate(service: Service) -> tuple[int | None, str]:
    """Run the generator as a process of its own; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", "tests/api/schemathesis.toml"),
        *("run", f"{service.url}/openapi.json", "--generation-deterministic"),
        cwd=ROOT,
        # Nothing else: coverage would measure the generator, and a CI's variables change its ways.
        env={"PATH": os.environ["PATH"], "TOKEN": service.admin_token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.timeout(180)
async def test_every_operation_keeps_to_the_document(service: Service) -> None:
    await _fill(service)
    before = _good_answers(service)

    code, output = await _generate(service)

    good = {operation for operation, _ in _good_answers(service) - before}
    assert code == 0, output
    # All were reached, and got further than to a refusal.
    assert good == _operations() - {("GET", "/v1/environments/{environment}/events")}


def _good_answers(service: Service) -> set[tuple[tuple[str, str], int]]:
    """Return how often each operation was answered with success, as metrics have it."""
    return {
        ((labels.method, labels.route), sum(series.counts))
        for labels, series in service.app[DURATIONS]
        if labels.status < 300
    }


async def _fill(service: Service) -> None:
    for environment in ("local", "staging"):
        for key in ("generated", "generated/a"):
            answer = await service.client.put(
                f"/v1/environments/{environment}/configurations/{key}",
                json={"value": environment},
                headers={"If-None-Match": "*"},
            )
            assert answer.status == 201


def _operations() -> set[tuple[str, str]]:
    paths = document(ROUTES)["paths"]
    return {(method.upper(), path) for path in paths for method in paths[path]}
