"""The commands of `backup` next to a running service, also when they are killed halfway."""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import ClientSession

from app.database.role_names import APP, BACKUP, MIGRATOR
from tests.conftest import Server
from tests.process.conftest import CommandResult, Process, run_alone
from tests.waiting import HANG_SECONDS, until

Run = Callable[..., Any]


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    name = server.create_database(f"backups_{secrets.token_hex(4)}", template="flagstone")
    yield name
    server.drop_database(name)


@pytest.fixture
def launch_here(
    launch: Callable[..., Process], server: Server, database: str
) -> Callable[..., Process]:
    """Return a function that creates processes with the URL of each role of one database."""

    def url(role: str) -> str:
        target = server.target(role, database)
        ((folder, port),) = target.hosts
        password = quote(target.password.reveal()) if target.password else ""
        return f"postgresql://{role}:{password}@/{database}?" + urlencode(
            {"host": folder, "port": port}
        )

    return partial(
        launch,
        DATABASE_URL=url(APP),
        DATABASE_MIGRATOR_URL=url(MIGRATOR),
        DATABASE_BACKUP_URL=url(BACKUP),
        LOG_LEVEL="error",
        COLUMNS="200",
    )


async def _run(process: Process, *command: str, **environment: str) -> CommandResult:
    environ = {"DATA_DIR": str(process.data_dir), **process.environment, **environment}
    return await run_alone(*command, environ=environ)


@pytest.mark.slow
async def test_backup_is_made_verified_and_restored_under_load(
    launch_here: Callable[..., Process], client: ClientSession, database: str
) -> None:
    service = launch_here()
    run: Run = partial(_run, service)
    await service.start()
    await service.ready()
    place = f"{service.url}/v1/environments/staging/configurations"

    async def put(key: str, **body: Any) -> int:
        async with client.put(
            f"{place}/{key}", json=body, headers=service.headers | {"If-None-Match": "*"}
        ) as answer:
            return answer.status

    async def read(key: str) -> tuple[int, Any, str]:
        async with client.get(f"{place}/{key}?reveal=true", headers=service.headers) as answer:
            body = await answer.json()
            return answer.status, body.get("value"), answer.headers.get("Flagstone-Revision", "")

    async def make(name: str) -> int:
        body = {"name": name, "tier": "development"}
        async with client.post(
            f"{service.url}/v1/environments", json=body, headers=service.headers
        ) as answer:
            return answer.status

    assert await put("restored", value="CANARY-OF-THE-BACKUP", kind="secret") == 201
    assert await make("before") == 201
    created = await run("backup", "create", "--json")
    assert created[0] == 0, created
    manifest = json.loads(created[1])
    assert await put("lost", value=1) == 201
    epoch = (await read("lost"))[2].partition(":")[0]

    verified = await run("backup", "verify")
    blind = await run(
        *("backup", "verify", "--identity", str(service.data_dir / "backup-identity")),
        TIER="development",
        TOKEN_KEY=(service.data_dir / "token-key").read_text().strip(),
    )
    async with client.get(
        f"{service.url}/v1/environments/staging/events", headers=service.headers
    ) as events:
        refused = await run("backup", "restore")
        assert (await read("lost"))[1] == 1
        mistyped = [
            await run("backup", "restore", "--replace", "--confirm", wrong)
            for wrong in (database[:-1], database.title(), f"{database} ")
        ]
        restored = await run("backup", "restore", "--replace", "--confirm", database)
        assert restored[0] == 0, restored

        async def has_new_epoch() -> bool:
            return (await read("restored"))[2].partition(":")[0] != epoch

        await until(has_new_epoch)
        received = b""
        async with asyncio.timeout(HANG_SECONDS):
            while b"event: resync" not in received:
                received += await events.content.readany()

    assert (verified[0], "secrets: 1 opened" in verified[1]) == (0, True), verified
    assert (blind[0], "this host has no key ring" in blind[1]) == (1, True), blind
    assert (refused[0], "the database is not empty" in refused[2]) == (1, True), refused
    assert all((code, "must be" in text) == (1, True) for code, _, text in mistyped)
    assert (await read("lost"))[0] == 404
    assert (await read("restored"))[:2] == (200, "CANARY-OF-THE-BACKUP")
    # With statements that the service prepared before the restore replaced the tables.
    assert (await put("after", value=1), await make("after")) == (201, 201)

    assert (await run("backup", "prune", "--keep", "1"))[1] == "nothing to remove\n"
    async with client.get(
        f"{service.url}/v1/access-log?event=backup_restored", headers=service.headers
    ) as answer:
        (row,) = (await answer.json())["items"]
    assert row["resource"] == manifest["name"]
    assert "staging 1" in row["detail"]
    output = "".join(map(str, (*created, *verified, *restored)))
    assert "CANARY" not in output
    assert service.log.count("CANARY") == 0
    assert await service.stop() == 0


@pytest.mark.slow
async def test_interrupted_backup_leaves_no_file(
    launch_here: Callable[..., Process], server: Server, database: str
) -> None:
    process = launch_here()
    folder = process.data_dir / "backups"
    _fill(server, database)

    async def is_midway() -> bool:
        return any(path.stat().st_size for path in folder.glob("*/data.age"))

    ways: tuple[tuple[int, int, int], ...] = (
        (signal.SIGTERM, 130, 0),
        (signal.SIGKILL, -signal.SIGKILL, 1),
    )
    for number, code, left in ways:
        await process.start("backup", "create")
        await until(is_midway)

        assert await process.stop(number) == code
        assert [path.suffix for path in folder.iterdir()] == [".partial"] * left

    created = await _run(process, "backup", "create")

    assert created[0] == 0
    assert [path.name for path in folder.iterdir()] == [created[1].partition(":")[0]]


def _fill(server: Server, database: str) -> None:
    """Make pg_dump run for a second."""
    with server.admin(database) as connection:
        connection.execute("create table flagstone.ballast (content bytea)")
        connection.execute(f"grant select on flagstone.ballast to {BACKUP}")
        with connection.cursor().copy("copy flagstone.ballast from stdin") as copy:
            for _ in range(80):
                copy.write(b"\\\\x" + os.urandom(1_000_000).hex().encode() + b"\n")


async def test_missing_or_wrong_argument_is_named(
    launch_here: Callable[..., Process], tmp_path: Path
) -> None:
    process = launch_here()
    run: Run = partial(_run, process)
    file = tmp_path / "no-identity"
    file.write_text("nothing")

    for environment, reason in (
        ({"TIER": "development"}, "BACKUP_RECIPIENTS: is required in development"),
        (
            {"BACKUP_DIR": "/proc/backups"},
            "BACKUP_DIR: /proc/backups cannot be created: no such file",
        ),
    ):
        code, _, error = await run("backup", "create", **environment)
        assert (code, reason in error, "Traceback" in error) == (1, True, False), error

    assert (await run("backup", "create"))[0] == 0
    code, _, error = await run("backup", "verify", "--identity", str(file))
    assert (code, "must contain only age identities" in error) == (1, True)


async def test_command_starts_a_new_epoch(
    launch_here: Callable[..., Process], server: Server, database: str
) -> None:
    process = launch_here()

    def epochs() -> set[object]:
        with server.admin(database) as connection:
            return set(connection.execute("select epoch from flagstone.environments").fetchall())

    before = epochs()
    code, out, _ = await _run(process, "backup", "new-epoch")

    assert (code, len(out.splitlines())) == (0, 4)
    assert not epochs() & before
