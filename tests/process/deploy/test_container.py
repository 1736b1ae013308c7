"""The image as a container: `make image-test` builds it, and names it in FLAGSTONE_IMAGE.

The container has no database and no network. The service starts, and waits for the database.
"""

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from app import VERSION
from tests.waiting import HANG_SECONDS, until

IMAGE = os.environ.get("FLAGSTONE_IMAGE", "")
# The program, such as docker or podman, with its options.
PROGRAM = shlex.split(os.environ.get("FLAGSTONE_CONTAINERS", "docker"))
BYTES_MAX = 250_000_000
SETTINGS = {"TIER": "local", "WORKERS": "2", "DATABASE_URL": "postgresql://a:b@127.0.0.1:1/a"}

pytestmark = pytest.mark.skipif(not IMAGE, reason="FLAGSTONE_IMAGE is not set: make image-test")


def _call(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, check=check, text=True, timeout=HANG_SECONDS
    )


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    (image,) = json.loads(_call("image", "inspect", IMAGE).stdout)
    return dict(image)


@pytest.fixture
def container() -> Iterator[str]:
    """Yield the name of a running container, with no power and a read-only root."""
    name = f"flagstone-test-{secrets.token_hex(4)}"
    settings = [word for item in SETTINGS.items() for word in ("--env", "=".join(item))]
    _call(
        *("run", "--detach", "--name", name, "--read-only", "--network", "none"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", *settings, IMAGE),
    )
    yield name
    _call("rm", "--force", "--volumes", name)


async def _until_live(container: str) -> None:
    async def is_live() -> bool:
        return _call("exec", container, "flagstone", "probe", "live", check=False).returncode == 0

    await until(is_live)


def test_image_is_small_and_says_what_it_is(image: dict[str, Any]) -> None:
    labels = image["Config"]["Labels"]

    assert image["Size"] < BYTES_MAX
    assert image["Config"]["User"] == "10001:10001"
    assert labels["org.opencontainers.image.version"] == VERSION


def test_service_in_production_names_the_missing_settings() -> None:
    outcome = _call("run", "--rm", "--read-only", "--network", "none", IMAGE, check=False)

    assert outcome.returncode == 1
    assert "DATABASE_URL: is required in production" in outcome.stderr


async def test_container_is_live_without_power(container: str) -> None:
    await _until_live(container)

    assert _call("exec", container, "id", "-u").stdout == "10001\n"
    assert _call("exec", container, "touch", "/file", check=False).returncode != 0
    assert _call("exec", container, "touch", "/data/file").returncode == 0


async def test_orphans_are_reaped(container: str) -> None:
    await _until_live(container)
    # The shell ends first, so the first process of the container inherits the others.
    _call("exec", container, "sh", "-c", "for i in 1 2 3; do (sleep 0.2 &); done")

    async def only_the_service_runs() -> bool:
        states = _call("exec", container, "sh", "-c", "cat /proc/[0-9]*/stat").stdout
        return "(sleep)" not in states and ") Z " not in states

    await until(only_the_service_runs)


async def test_sigterm_ends_the_container_with_0(container: str) -> None:
    await _until_live(container)

    _call("kill", "--signal", "TERM", container)

    assert _call("wait", container).stdout == "0\n"
