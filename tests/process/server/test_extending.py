"""The example of docs/extending.md, extracted from the page, runs in the real service."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from aiohttp import ClientSession

from app.database.client.drivers import libpq_arguments
from app.database.embedded import EmbeddedServer
from app.settings import load
from tests.paths import ROOT
from tests.process.conftest import Process
from tests.waiting import until

# A path, optionally the line after which the block is inserted, and the block.
_BLOCK = re.compile(
    r"^`([^`\n]+)`(?:, after `([^`\n]+)`)?:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_MEASURED = re.compile(r"^flagstone_disk_free_bytes\{.*\} [1-9]", re.MULTILINE)
_TIME = "1999999900000"


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the code with the files and lines of the page."""
    for folder in ("app", "sql", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, anchor, block in _BLOCK.findall((ROOT / "docs/extending.md").read_text()):
        file = tmp_path / path.replace("TIME", _TIME)
        if not anchor:
            assert not file.exists()
            file.write_text(block)
            continue
        text = file.read_text()
        assert text.count(f"{anchor}\n") == 1, anchor
        file.write_text(text.replace(f"{anchor}\n", f"{anchor}\n{block}"))
    return tmp_path


def _rows(data_dir: Path) -> list[tuple[object, ...]]:
    superuser = EmbeddedServer(data_dir, account=None).superuser
    with psycopg.connect(
        **libpq_arguments(superuser.named("flagstone"), load({}).database)
    ) as connection:
        return connection.execute("select free_bytes > 0 from flagstone.disk_space").fetchall()


@pytest.mark.slow
async def test_example_of_the_page_reports_its_check_and_metric(
    launch: Callable[..., Process], client: ClientSession, extended: Path
) -> None:
    process = launch(SEED_ON_START="false")
    process.code = extended
    await process.start()
    await process.ready()

    async def has_measured() -> bool:
        async with client.get(f"{process.url}/metrics", headers=process.headers) as answer:
            return _MEASURED.search(await answer.text()) is not None

    await until(has_measured)
    async with client.get(f"{process.url}/health", headers=process.headers) as answer:
        checks = (await answer.json(content_type=None))["checks"]

    assert checks["disk:free"][0]["observedUnit"] == "bytes"
    assert checks["tasks:disk_space"] == [{"status": "pass"}]
    assert checks["schema:drift"][0]["status"] == "pass"
    assert _rows(process.data_dir) == [(True,)]
    assert await process.stop() == 0


@pytest.mark.slow
async def test_script_of_the_page_prints_counts(
    launch: Callable[..., Process], extended: Path
) -> None:
    seed, script = launch(), launch()
    script.code = extended
    await seed.start("database", "seed")
    assert seed.child is not None
    await seed.child.wait()

    await script.start_module("app.scripts", "count_entries")
    assert script.child is not None
    code = await script.child.wait()

    assert (code, "local: 5 entries\n" in script.log) == (0, True)


@pytest.mark.slow
def test_example_of_the_page_passes_the_linters(extended: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    layers = str(Path(sys.executable).with_name("lint-imports"))
    for command in (
        [*ruff, "check", "app"],
        [*ruff, "format", "--check", "app"],
        [layers, "--no-cache"],
    ):
        run = subprocess.run(command, cwd=extended, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout
