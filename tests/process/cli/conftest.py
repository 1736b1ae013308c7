"""A database of its own, and a process that runs commands on it."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from app.access.events import Origin
from app.access.local_credentials import token_key
from app.access.people.sign_in import PersonIdentity, sign_in
from app.cli.actor import operator
from app.database.role_names import APP, BACKUP, MIGRATOR
from app.scripts import Resources, run_script
from app.settings import Target
from tests.commands import CommandResult, run_command
from tests.conftest import Server
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

Run = Callable[..., CommandResult]
Call = Callable[..., CommandResult]
NewPerson = Callable[..., str]
# The parts of an output that differ: IDs, hashes, times, actors and the text of a token.
_VARIABLE = (
    r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}|(?:token|operator):\w+"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?Z?)?|fs_\w+"
    # The names of the two actors: the account of the tests, and the token of the server.
    rf"|\b(?:{re.escape(operator().removeprefix('operator:'))}|local admin)\b"
)


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


def _sign_in_with(
    environ: dict[str, str], issuer: str, subject: str, groups: tuple[str, ...]
) -> str:
    """Sign a person in as the callback of a provider does, and return the ID."""
    identity = PersonIdentity(
        issuer=issuer,
        subject=subject,
        name=subject.title(),
        email=f"{subject}@example.org",
        groups=frozenset(groups),
    )

    async def work(resources: Resources) -> str:
        key = token_key(resources.settings)
        person = await resources.database.transact(
            lambda c: sign_in(c, resources.access_log, key, identity, origin=Origin(actor="test"))
        )
        return person.id

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return run_script(work)


@pytest.fixture
def environ(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the settings of a database of its own."""
    name = server.create_database("examples", template="flagstone")
    shutil.copytree(server.provisioner.folder, tmp_path / "credentials")
    yield {
        "DATABASE_URL": _url(server.target(APP, name)),
        "DATABASE_MIGRATOR_URL": _url(server.target(MIGRATOR, name)),
        "DATABASE_BACKUP_URL": _url(server.target(BACKUP, name)),
        "DATABASE_ADMIN_URL": _url(server.superuser),
        "DATA_DIR": str(server.folder / "examples"),
        "LOG_LEVEL": "error",
        "COLUMNS": "80",
        "TZ": "UTC",
    }
    server.drop_database(name)


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path, _executor: ProcessPoolExecutor) -> Run:
    """Return a function that runs commands in the folder of the test."""

    def run(*words: str, stdin: str = "", **more: str) -> CommandResult:
        submitted = _executor.submit(_run_in, tmp_path, words, stdin, {**environ, **more})
        result: CommandResult = submitted.result(timeout=HANG_SECONDS)
        return result

    return run


@pytest.fixture
def new_person(environ: dict[str, str], _executor: ProcessPoolExecutor) -> NewPerson:
    """Return a function that adds a person in groups, by default to the database of `run`."""

    def sign_in(
        subject: str, *groups: str, issuer: str = "https://login.example.com", **more: str
    ) -> str:
        environment = {**environ, **more}
        submitted = _executor.submit(_sign_in_with, environment, issuer, subject, groups)
        person: str = submitted.result(timeout=HANG_SECONDS)
        return person

    return sign_in


@pytest.fixture
async def beside(launch_beside: Callable[..., Process]) -> AsyncIterator[Process]:
    """Yield a service that runs."""
    service = launch_beside()
    await service.start()
    await service.ready()
    yield service
    assert await service.stop() == 0


@pytest.fixture
def call(beside: Process, run: Run, tmp_path: Path) -> Call:
    """Return a function that runs a command on a server, in a process without a database."""
    nowhere = {"DATABASE_URL": "postgresql://a@127.0.0.1:9/none", "DATA_DIR": str(tmp_path / "no")}
    server = {"FLAGSTONE_URL": beside.url, "FLAGSTONE_TOKEN_FILE": str(beside.token_file)}

    def call(*words: str, **environ: Any) -> CommandResult:
        return run(*words, **{**nowhere, **server, **environ})

    return call


def comparable(result: CommandResult, *ids: str) -> tuple[int, str, str]:
    """Return a result without what differs between two databases."""
    variable = re.compile("|".join([_VARIABLE, *map(re.escape, ids)]))
    # The width of an actor decides the width of its column.
    output, errors = (re.sub(r" +\n|  +", "  ", variable.sub("…", text)) for text in result[1:])
    return result.code, output, errors
