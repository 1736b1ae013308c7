"""A database of its own, and a process that runs commands on it."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from app.database.role_names import APP, BACKUP, MIGRATOR
from app.settings import Target
from tests.commands import CommandResult, run_command
from tests.conftest import Server
from tests.waiting import HANG_SECONDS

Run = Callable[..., CommandResult]


def _url(target: Target) -> str:
    ((folder, port),) = target.hosts
    password = quote(target.password.reveal(), safe="") if target.password else ""
    query = urlencode({"host": folder, "port": port})
    return f"postgresql://{target.user}:{password}@/{target.database}?{query}"


@pytest.fixture(scope="session")
def _executor() -> Iterator[ProcessPoolExecutor]:
    """Yield another process for commands: a process each takes a second."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        yield executor


def _run_in(
    folder: Path, words: tuple[str, ...], stdin: str, environ: dict[str, str]
) -> CommandResult:
    os.chdir(folder)
    return run_command(*words, stdin=stdin, **environ)


@pytest.fixture
def run(server: Server, tmp_path: Path, _executor: ProcessPoolExecutor) -> Iterator[Run]:
    """Yield a function that runs commands in the folder of the test."""
    name = server.create_database("examples", template="flagstone")
    shutil.copytree(server.provisioner.folder, tmp_path / "credentials")
    environ = {
        "DATABASE_URL": _url(server.target(APP, name)),
        "DATABASE_MIGRATOR_URL": _url(server.target(MIGRATOR, name)),
        "DATABASE_BACKUP_URL": _url(server.target(BACKUP, name)),
        "DATABASE_ADMIN_URL": _url(server.superuser),
        "DATA_DIR": str(server.folder / "examples"),
        "LOG_LEVEL": "error",
        "COLUMNS": "80",
        "TZ": "UTC",
    }

    def run(*words: str, stdin: str = "", **more: str) -> CommandResult:
        submitted = _executor.submit(_run_in, tmp_path, words, stdin, {**environ, **more})
        result: CommandResult = submitted.result(timeout=HANG_SECONDS)
        return result

    yield run
    server.drop_database(name)
