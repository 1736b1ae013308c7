"""A test writes a thousand secrets, and then searches for them in everything that is stored.

It searches the data directory with the write-ahead log, the log of PostgreSQL with every statement,
a dump of every table, the snapshots, the log of the service, and its responses.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from aiohttp import ClientSession

from app.access.local_credentials import token_key
from app.configuration.snapshots.disk import Disk
from app.database.embedded import EmbeddedServer
from app.settings import Tier, load
from tests.process.conftest import PATIENT, Process
from tests.waiting import until

SECRETS = 1_000
# No other text matches, not even in base64.
_CANARY = re.compile(rb"canary-[0-9]{4}-[a-z]{12}")
_SETTING = "canary-9999-inthesetting"


def _canary(number: int) -> str:
    return f"canary-{number:04}-kestrelplume"


@pytest.mark.slow
async def test_secrets_are_stored_nowhere_in_clear(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(SEED_ON_START="false", LOG_LEVEL="debug", ACCESS_LOG_STDOUT="true", **PATIENT)
    await service.start()
    await service.ready()
    with _superuser(service.data_dir) as connection:
        connection.execute("alter role all set log_statement = 'all'")
        connection.execute("alter role all set log_error_verbosity = 'default'")
    # Settings of a role take effect at its next connection.
    await service.stop()
    await service.start()
    await service.ready()
    admin = _superuser(service.data_dir)
    answers: list[bytes] = []

    async def ask(method: str, path: str, body: Any = None, **headers: str) -> None:
        url = f"{service.url}/v1/environments/{path}"
        async with client.request(
            method, url, json=body, headers=service.headers | headers
        ) as answer:
            answers.append(await answer.read() + str(answer.headers).encode())
            assert answer.status < 500

    await _write(ask)
    responses = list(answers)
    # Proves that the search works: a setting is stored in clear.
    await ask("PUT", "local/configurations/open", {"value": _SETTING}, **{"If-None-Match": "*"})
    async with client.get(
        f"{service.url}/v1/environments/local/export?reveal=true", headers=service.headers
    ) as answer:
        revealed = set(_CANARY.findall(await answer.read()))
    disk = Disk(service.data_dir, token_key(load({"DATA_DIR": str(service.data_dir)})), Tier.LOCAL)

    async def has_last_revision() -> bool:
        return _SETTING.encode() in _state_on(disk)

    await until(has_last_revision)
    dump = b"".join(_dump(admin))
    admin.close()
    assert await service.stop() == 0

    assert (
        len(revealed) == SECRETS - 300 + 1
    )  # the entries of the restored revision, and the setting
    assert not [text for text in responses if _CANARY.search(text)]
    leaks = {name: canaries for name, canaries in _canaries_by_file(service.data_dir) if canaries}
    only = {_SETTING.encode()}
    assert set(_CANARY.findall(dump)) == only
    assert {canary for canaries in leaks.values() for canary in canaries} == only, leaks
    # In the file of the table, in the log of statements and in the write-ahead log.
    assert {Path(name).parts[0] for name in leaks} >= {"pg18", "pg18.log"}
    assert any("pg_wal" in name for name in leaks)
    assert set(_CANARY.findall(_state_on(disk))) == only


async def _write(ask: Callable[..., Awaitable[None]]) -> None:
    """Write secrets through every endpoint. Some of the requests are refused."""
    secret = {"op": "put", "version": 0, "kind": "secret"}
    operations = [secret | {"key": f"s{n}", "value": _canary(n)} for n in range(SECRETS - 300)]
    await ask("POST", "local/changes", {"operations": operations}, **{"Idempotency-Key": "all"})
    await ask("POST", "local/changes", {"operations": operations}, **{"Idempotency-Key": "all"})
    await ask("POST", "local/changes", {"operations": operations})
    for number in range(SECRETS - 300, SECRETS - 100):
        body = {"kind": "secret", "value": {"user": "u", "password": _canary(number)}}
        path = f"local/configurations/s{number}"
        await ask("PUT", path, body, **{"If-None-Match": "*", "Idempotency-Key": f"k{number}"})
        await ask("PUT", path, body, **{"If-None-Match": "*"})
        await ask("PUT", path, body | {"schema": {"const": 1}}, **{"If-Match": '"1"'})
    entries = {
        f"s{n}": {"kind": "secret", "value": [_canary(n)]} for n in range(SECRETS - 100, SECRETS)
    }
    await ask("POST", "local/import?dry_run=true", {"flagstone": 1, "entries": entries})
    await ask("POST", "local/import", {"flagstone": 1, "entries": entries})
    await ask("POST", "local/import", {"flagstone": 2, "entries": entries})
    await ask("POST", "staging/promote", {"from": "local", "keys": list(entries)})
    await ask("DELETE", "local/configurations/s1", **{"If-Match": '"1"'})
    await ask("POST", "local/changes/1/revert", {})
    await ask("POST", "local/restore", {"revision": 1})
    for path in ("export", "configurations?limit=500", "changes?limit=500", "diff?from=0"):
        await ask("GET", f"local/{path}")


def _state_on(disk: Disk) -> bytes:
    stored = disk.read()
    if stored is None:
        return b""
    complete = [disk.complete(environment) for environment in stored.state.environments]
    return msgspec.json.encode([stored.state, complete])


def _superuser(folder: Path) -> psycopg.Connection[Any]:
    target = EmbeddedServer(folder).superuser.named("flagstone")
    host, port = target.hosts[0]
    return psycopg.connect(
        host=host,
        port=port,
        user=target.user,
        password=target.password.reveal() if target.password else None,
        dbname="flagstone",
        autocommit=True,
    )


def _dump(admin: psycopg.Connection[Any]) -> Iterator[bytes]:
    """Yield every row of every table, as in a dump."""
    tables = admin.execute(
        "select relname from pg_class where relnamespace = 'flagstone'::regnamespace "
        "and relkind = 'r'"
    ).fetchall()
    for (table,) in tables:
        with admin.cursor().copy(f'copy flagstone."{table}" to stdout'.encode()) as copy:
            yield from (bytes(part) for part in copy)


def _canaries_by_file(folder: Path) -> Iterator[tuple[str, set[bytes]]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), set(_CANARY.findall(path.read_bytes()))
