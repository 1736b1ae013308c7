"""The wheel has every file of the service, and runs from any folder without a checkout."""

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from app import VERSION
from tests.paths import ROOT
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

Launch = Callable[..., Process]
FOLDERS = ("app", "sql", "migrations")
NOT_INSTALLED = {"app/install.sh"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the source distribution, as `pip install` of one builds it."""
    folder = tmp_path_factory.mktemp("distribution")
    _build(ROOT, "sdist", folder)
    (source,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", source, "-C", folder], check=True, timeout=HANG_SECONDS)
    _build(folder / source.name.removesuffix(".tar.gz"), "wheel", folder)
    (built,) = folder.glob("*.whl")
    return built


def _build(source: Path, target: str, folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder],
        capture_output=True,
        check=True,
        cwd=source,
        timeout=HANG_SECONDS,
    )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the unpacked wheel, as site-packages has it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a working folder that has another package `app`."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('the wrong app')")
    return tmp_path


@pytest.mark.slow
def test_wheel_has_every_file_of_the_service(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - NOT_INSTALLED

    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == {f"flagstone/{name}" for name in expected} | {
        "flagstone/__init__.py",
        "flagstone/__main__.py",
    }


def test_wheel_has_the_version_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        commands = archive.read(f"flagstone-{VERSION}.dist-info/entry_points.txt").decode()

    assert "flagstone = flagstone.__main__:main" in commands


@pytest.mark.slow
def test_installed_help_names_the_command(installed: Path, elsewhere: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(installed)}

    printed = subprocess.run(
        [sys.executable, "-P", "-m", "flagstone", "backup", "create", "--help"],
        capture_output=True,
        check=True,
        cwd=elsewhere,
        env=environ,
        text=True,
        timeout=HANG_SECONDS,
    ).stdout

    assert printed.startswith("Usage: flagstone backup create")
    assert "python -m app" not in printed


@pytest.mark.slow
async def test_installed_service_runs_from_any_folder(
    installed: Path, elsewhere: Path, launch_beside: Launch
) -> None:
    process = launch_beside(SEED_ON_START="true")
    environ = {
        **os.environ,
        **process.environment,
        "PYTHONPATH": str(installed),
        "DATA_DIR": str(process.data_dir),
        "PORT": str(process.port),
    }
    with (process.data_dir / f"service-{process.port}.log").open("wb") as log:
        process.child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "flagstone", "serve"),
            cwd=elsewhere,
            env=environ,
            stderr=log,
        )
    await process.ready()
    # A JSON Schema is checked by a child process, which must import the same code.
    entry = {"value": "x", "schema": {"type": "number"}}

    async with ClientSession(headers=process.headers) as client:
        pages = [
            (await client.get(f"{process.url}{path}")).status
            for path in ("/console/sign-in", "/docs", "/openapi.json")
        ]
        async with client.put(
            f"{process.url}/v1/environments/local/configurations/schema-check",
            json=entry,
            headers={"If-None-Match": "*"},
        ) as answer:
            refused = answer.status, await answer.text()

    assert pages == [200] * 3
    assert refused[0] == 422, refused
    assert await process.stop() == 0
