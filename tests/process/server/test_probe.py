"""`probe` exits with 0 if the service on this host is in the state."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.paths import ROOT
from tests.ports import free_port
from tests.process.conftest import Process, run_alone
from tests.waiting import HANG_SECONDS

Launch = Callable[..., Process]


async def test_probe_of_a_ready_service_succeeds(launch_beside: Launch) -> None:
    process = launch_beside(HOST="*")
    await process.start()
    await process.ready()
    environ = {"HOST": "*", "PORT": str(process.port)}

    outcomes = [await run_alone("probe", *state, environ=environ) for state in ((), ("live",))]

    assert outcomes == [(0, "", "")] * 2


async def test_probe_without_a_service_fails() -> None:
    port = free_port()

    outcome = await run_alone("probe", environ={"HOST": "[::1]", "PORT": str(port)})

    assert outcome.code == 1
    assert outcome.errors.startswith(f"error: http://[::1]:{port}/health/ready cannot be reached: ")


@pytest.mark.parametrize("environ", [{"PORT": "x"}, {"HOST": "a..b"}])
async def test_probe_of_an_invalid_address_names_the_settings(environ: dict[str, str]) -> None:
    outcome = await run_alone("probe", environ=environ)

    assert outcome.code == 1
    assert "Traceback" not in outcome.errors
    assert outcome.errors.endswith("Check HOST and PORT\n")


def test_probe_imports_only_the_standard_library() -> None:
    code = (
        "import sys, app.server.probe; print({'aiohttp', 'app.settings', 'typer'} & {*sys.modules})"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
        timeout=HANG_SECONDS,
    ).stdout

    assert printed == "set()\n"
