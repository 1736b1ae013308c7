"""Key commands next to a running service, also when a command is killed halfway."""

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest
from aiohttp import ClientSession

from tests.process.conftest import PATIENT, Process, run, run_alone
from tests.waiting import HANG_SECONDS, until

# Three batches of a rotation: 50, 500 and the rest.
SECRETS = 600
FEW = 10


async def _fill(
    client: ClientSession, service: Process, environment: str = "local", count: int = FEW
) -> None:
    operations = [
        {"op": "put", "key": f"s{n}", "version": 0, "kind": "secret", "value": f"value {n}"}
        for n in range(count)
    ]
    url = f"{service.url}/v1/environments/{environment}/changes"
    async with client.post(url, json={"operations": operations}, headers=service.headers) as answer:
        assert answer.status == 200, await answer.text()


async def _read(
    client: ClientSession, service: Process, number: int, environment: str = "local"
) -> tuple[int, object]:
    url = f"{service.url}/v1/environments/{environment}/configurations/s{number}?reveal=true"
    async with client.get(url, headers=service.headers) as answer:
        return answer.status, (await answer.json(content_type=None)).get("value")


async def _whole(client: ClientSession, service: Process) -> dict[str, object]:
    url = f"{service.url}/v1/environments/local/export?reveal=true"
    async with client.get(url, headers=service.headers) as answer:
        assert answer.status == 200, await answer.text()
        entries = (await answer.json(content_type=None))["entries"]
    return {key: entry["value"] for key, entry in entries.items() if entry["kind"] == "secret"}


@asynccontextmanager
async def _load(client: ClientSession, service: Process) -> AsyncIterator[list[int]]:
    """Read and write secrets until the block ends, and record each status."""
    statuses: list[int] = []

    async def read() -> None:
        while True:
            number = random.randrange(1, SECRETS)  # noqa: S311 - which one does not matter
            status, value = await _read(client, service, number)
            statuses.append(status if value == f"value {number}" else -1)

    async def write() -> None:
        version = 1
        while True:
            async with client.put(
                f"{service.url}/v1/environments/local/configurations/s0",
                json={"kind": "secret", "value": f"version {version}"},
                headers=service.headers | {"If-Match": f'"{version}"'},
            ) as answer:
                statuses.append(answer.status)
            version += 1

    tasks = [asyncio.create_task(work) for work in (read(), read(), write())]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


def _ids(text: str) -> dict[str, str]:
    """Return the state of each key by ID, from the output of `key list`."""
    return dict(re.findall(r"^(\d{8}-[0-9a-f]{8}) +(\S+) +\d+ *$", text, re.MULTILINE))


@contextmanager
def _locked_secret(service: Process) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Lock one secret, so that no rotation ends."""
    url = (service.data_dir / "credentials" / "app.url").read_text().strip()
    with psycopg.connect(url) as connection:
        connection.execute("set search_path = flagstone")
        connection.execute("select 1 from configurations where key = 's1' for no key update")
        yield connection


def _data_keys(connection: psycopg.Connection[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """Return each secret with the ID of its data key. The load writes s0 all the time."""
    query = "select key, substr(sealed, 3, 8) from configurations where key <> 's0'"
    return set(connection.execute(query).fetchall())


@pytest.mark.slow
async def test_key_rotation_continues_after_kill(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(**PATIENT)
    await service.start()
    await service.ready()
    await _fill(client, service, count=SECRETS)
    ring = (service.data_dir / "key-ring").read_text()

    async with _load(client, service) as statuses:
        generated = await run(launch, "key", "generate")
        (old, _), (new, _) = _ids((await run(launch, "key", "list"))[1]).items()
        early = await run(launch, "key", "retire", old)
        rotated = await run(launch, "key", "rotate", new)
        with _locked_secret(service) as connection:
            before = _data_keys(connection)
            # In the first batch of 50, in a later one, and after all that can be resealed.
            for least in (1, 51, SECRETS - 2):

                async def is_reached(least: int = least) -> bool:
                    return len(_data_keys(connection) - before) >= least

                process = launch()
                await process.start("key", "rotate", "--data-keys", "local")
                await until(is_reached)
                assert await process.stop(signal.SIGKILL) == -signal.SIGKILL
        finished = await run(launch, "key", "rotate", "--data-keys", "*")
        retired = await run(launch, "key", "retire", old)
        again = await run(launch, "key", "retire", new)
    listed = (await run(launch, "key", "list"))[1]
    whole = await _whole(client, service)

    assert generated[0] == 0
    assert (early[0], "1 data keys are wrapped by" in early[1]) == (1, True)
    assert (rotated[0], "1 data keys wrapped again" in rotated[1]) == (0, True)
    assert finished[0] == 0, finished[1]
    assert (retired[0], again[0]) == (0, 1)
    assert _ids(listed) == {old: "retired", new: "active"}
    assert set(statuses) == {200}
    assert len(whole) == SECRETS
    assert all(whole[f"s{n}"] == f"value {n}" for n in range(1, SECRETS))
    # No stored secret uses an older data key.
    assert re.findall(r"retired \d{4}-\d\d-\d\d +(\d+) +(\d+)", listed)
    assert set(re.findall(r"retired \d{4}-\d\d-\d\d +(\d+) +(\d+)", listed)) == {("0", "0")}
    material = [line.split()[2] for line in ring.splitlines()]
    shown = "".join(text for _, text in (generated, early, rotated, finished, retired))
    assert all(key not in shown + listed for key in material)
    await service.stop()
    await service.start()
    await service.ready()
    assert await _read(client, service, 5) == (200, "value 5")


@pytest.mark.slow
async def test_wrong_key_ring_stops_start_and_names_keys(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(**PATIENT)
    await service.start()
    await service.ready()
    await _fill(client, service)
    assert await service.stop() == 0
    ring = service.data_dir / "key-ring"
    right = ring.read_text()
    key_id = right.split()[1]
    same_id = f"active {key_id} {'A' * 43}="

    for text, reason in (
        ("", "key ring"),
        (f"active other {'A' * 43}=", f"{key_id} is not in the key ring"),
        (same_id, f"{key_id} is another key in the key ring"),
        ("nonsense", "KEY_RING: line 1 must be STATE ID KEY"),
        (right.replace("active ", "retired"), "must have one active key"),
    ):
        ring.write_text(text)
        await service.start()
        assert service.child is not None
        code = await asyncio.wait_for(service.child.wait(), HANG_SECONDS)
        assert code == 1
        assert reason in service.log.splitlines()[-1]

    ring.write_text(right)
    await service.start()
    await service.ready()
    assert await _read(client, service, 1) == (200, "value 1")
    await service.stop()


@pytest.mark.slow
async def test_shredded_environment_is_unreadable_at_once(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(**PATIENT)
    await service.start()
    await service.ready()
    await _fill(client, service)
    await _fill(client, service, "staging")
    before = await _read(client, service, 1)

    refused = await run(launch, "key", "shred", "local", "--confirm", "staging")
    past_value = await _read(client, service, 1)
    unknown = await run(launch, "key", "shred", "nowhere", "--confirm", "nowhere")
    shredded = await run(launch, "key", "shred", "local", "--confirm", "local")

    assert (before, past_value) == ((200, "value 1"), (200, "value 1"))
    assert (refused[0], unknown[0], shredded[0]) == (1, 1, 0)
    for number in range(FEW):
        assert (await _read(client, service, number))[0] == 404
    assert await _read(client, service, 1, "staging") == (200, "value 1")
    async with client.get(
        f"{service.url}/v1/environments/local/configurations/s1", headers=service.headers
    ) as masked:
        assert (masked.status, (await masked.json())["sealed"]) == (200, True)
    async with client.put(
        f"{service.url}/v1/environments/local/configurations/s1",
        json={"kind": "secret", "value": "renewed"},
        headers=service.headers | {"If-Match": '"1"'},
    ) as written:
        assert written.status == 200
    assert await _read(client, service, 1) == (200, "renewed")
    await service.stop()
    await service.start()
    await service.ready()
    assert await _read(client, service, 1) == (200, "renewed")
    assert (await _read(client, service, 2))[0] == 404
    await service.stop()


@pytest.mark.slow
async def test_running_service_loads_new_key_from_file(
    launch: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "ring"
    created = await run(launch, "key", "generate", "--file", str(file))
    assert created[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    service = launch(KEY_RING_FILE=str(file), **PATIENT)
    await service.start()
    await service.ready()
    await _fill(client, service)
    file.chmod(0o640)

    second = await run(launch, "key", "generate", KEY_RING_FILE=str(file))
    ids = [line.split()[1] for line in file.read_text().splitlines()]
    rotated = await run(launch, "key", "rotate", ids[1], KEY_RING_FILE=str(file))
    retired = await run(launch, "key", "retire", ids[0], KEY_RING_FILE=str(file))

    assert (second[0], rotated[0], retired[0]) == (0, 0, 0)
    assert [line.split()[:2] for line in file.read_text().splitlines()] == [
        ["retired", ids[0]],
        ["active", ids[1]],
    ]
    assert file.stat().st_mode & 0o777 == 0o640
    assert not (service.data_dir / "key-ring").exists()
    assert await _read(client, service, 3) == (200, "value 3")

    async def is_well() -> bool:
        async with client.get(f"{service.url}/health", headers=service.headers) as answer:
            checks = (await answer.json(content_type=None))["checks"]
            return bool(checks["keys"][0]["status"] == "pass")

    async def warns() -> bool:
        return not await is_well()

    right = file.read_text()
    created = await run(launch, "seal", "keygen", "--out", str(tmp_path / "identity"))
    export = str(tmp_path / "ring.age")
    sealed = await run(
        launch,
        "key",
        "export",
        "--recipient",
        created[1].split()[-1],
        export,
        KEY_RING_FILE=str(file),
    )
    file.unlink()
    opened = await run(
        *(launch, "key", "import", export, "--identity", str(tmp_path / "identity")),
        KEY_RING_FILE=str(file),
    )
    assert (sealed[0], opened[0]) == (0, 0)
    assert file.read_text() == right
    async with client.get(f"{service.url}/v1/access-log", headers=service.headers) as answer:
        rows = (await answer.json(content_type=None))["items"]
    events = [
        (row["resource"], row["detail"]) for row in rows if "key ring" in (row["detail"] or "")
    ]
    assert events == [
        (ids[1], "key ring imported: added 2 keys of 2"),
        (ids[1], "key ring exported for 1 recipient"),
    ]
    await until(is_well)
    file.write_text(f"active other {'A' * 43}=\n")
    await until(warns)
    assert await _read(client, service, 3) == (200, "value 3")
    file.write_text(right)
    await until(is_well)
    await service.stop()


@pytest.mark.slow
async def test_key_command_wraps_data_keys(
    launch: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    command = tmp_path / "kms"
    command.write_text(
        "#!/usr/bin/env python3\n"
        "import base64, json, pathlib, sys\n"
        "asked = json.load(sys.stdin)\n"
        "folder = pathlib.Path(sys.argv[0]).parent\n"
        "current = (folder / 'current').read_text()\n"
        "if sys.argv[1] == 'wrap':\n"
        "    print(json.dumps({'kek_id': current, 'wrapped': asked['key']}))\n"
        "elif (folder / asked['kek_id']).exists():\n"
        "    print(json.dumps({'key': asked['wrapped']}))\n"
        "else:\n"
        "    sys.exit(1)\n"
    )
    command.chmod(0o755)
    for name in ("kms-1", "kms-2"):
        (tmp_path / name).touch()
    (tmp_path / "current").write_text("kms-1")
    service = launch(KEY_COMMAND=str(command), **PATIENT)
    await service.start()
    await service.ready()
    await _fill(client, service)

    (tmp_path / "current").write_text("kms-2")
    rotated = await run(launch, "key", "rotate", KEY_COMMAND=str(command))
    listed = await run(launch, "key", "list", KEY_COMMAND=str(command))
    retired = await run(launch, "key", "retire", "kms-1", KEY_COMMAND=str(command))
    (tmp_path / "kms-1").unlink()

    assert (rotated[0], "1 data keys wrapped again" in rotated[1]) == (0, True)
    assert "kms-2" in listed[1]
    assert "kms-1" not in listed[1]
    assert retired[0] == 0
    assert await service.stop() == 0
    await service.start()
    await service.ready()
    assert await _read(client, service, 1) == (200, "value 1")
    await service.stop()
    (tmp_path / "kms-2").unlink()
    await service.start()
    assert service.child is not None
    assert await asyncio.wait_for(service.child.wait(), HANG_SECONDS) == 1
    assert "kms-2 KEY_COMMAND failed with exit code 1" in service.log


@pytest.mark.slow
async def test_secret_is_set_and_read_on_command_line(
    launch: Callable[..., Process],
) -> None:
    service = launch(**PATIENT)
    await service.start()
    await service.ready()
    command = ("configuration", "set", "local", "db/password", "-", "--text", "--kind", "secret")

    async def piped(text: bytes) -> tuple[int, str]:
        environ = {"DATA_DIR": str(service.data_dir)}
        result = await run_alone(*command, environ=environ, stdin=text)
        return result.code, result.errors

    written = await piped(b"of the pipe\n")
    no_text = [await piped(b"of the pipe" + wrong) for wrong in (b"\xff", b"\0")]
    assert written[0] == 0
    rules = ("the text must not contain a lone surrogate", "the text must not contain NUL")
    assert no_text == [(1, f"error: value: {rule}\n") for rule in rules]
    # --kind can be omitted, as the entry is already a secret.
    argument = ("configuration", "set", "local", "db/password", "of the list", "--text")
    for kind in ((), ("--kind", "secret")):
        refused = await run(launch, *argument, *kind)
        assert refused[0] == 1
        assert "value: must be -, so that a secret comes from standard input" in refused[1]
        assert "of the list" not in refused[1]
    masked = await run(launch, "configuration", "get", "local", "db/password")
    revealed = await run(launch, "configuration", "get", "local", "db/password", "--reveal")
    listed = await run(launch, "configuration", "list", "local")
    history = await run(launch, "configuration", "history", "local", "db/password")
    exported = await run(launch, "configuration", "export", "local")
    clear = await run(launch, "configuration", "export", "local", "--reveal")

    assert "of the pipe" in revealed[1]
    assert "of the pipe" in clear[1]
    for code, text in (masked, listed, history, exported):
        assert code == 0
        assert "of the pipe" not in text
    assert "(sealed)" in listed[1]
    await service.stop()
