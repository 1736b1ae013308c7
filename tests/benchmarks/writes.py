"""Measure a write with history and notification against the least SQL that records as much.

Both run on the service's own pool, in turns. The bare transaction is four plain statements: the
revision, the entry, the change set, the change.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import psycopg
from rich.progress import Progress

from app import log
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.service import apply
from app.database import Connection, Database
from app.database.client.drivers import libpq_arguments
from app.database.client.listener import listen
from app.database.migrations.runner import Migrator
from app.database.role_names import OWNER
from app.database.targets import open_targets_async
from app.settings import load
from app.threads import in_thread
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import data_folder

WRITERS = (1, 8)
ROUNDS = 5
ROUND_SECONDS = 0.8
KEYS = 50
_VALUE = {"retries": 3, "currencies": ["EUR", "USD"]}


class Write(Protocol):
    """Writes one entry in the transaction that it is given."""

    __name__: str

    async def __call__(self, connection: Connection, environment: str, key: str) -> None: ...


async def measure(progress: Progress) -> list[Figure]:
    """Measure transactions per second of one writer, and of eight in separate environments."""
    with data_folder() as folder:
        async with opened(folder) as database:
            return [await _compare(database, writers, progress) for writers in WRITERS]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    settings = load({"DATA_DIR": str(folder), "DATABASE_POOL_MAX": "10", "LOG_LEVEL": "error"})
    log.configure(settings.log.level, settings.log.format)
    async with open_targets_async(settings) as targets:
        migrator = Migrator(
            target=targets.migrator, settings=settings.database, instance=settings.instance
        )
        await in_thread("migrate", migrator.migrate)
        with psycopg.connect(**libpq_arguments(targets.migrator, settings.database)) as connection:
            connection.execute(f"set role {OWNER}")
            connection.execute(
                "insert into flagstone.environments (name, tier) "
                "select 'writer-' || n, 'local' from generate_series(1, %s) as n",
                [max(WRITERS)],
            )
        database = Database(settings.database)
        await database.open(targets.app)
        # One connection listens, as in production: NOTIFY without listeners is cheaper.
        listening = asyncio.create_task(listen(targets.app, settings.database, lambda _: None))
        announcing = asyncio.create_task(database.announcer.run())
        try:
            yield database
        finally:
            listening.cancel()
            announcing.cancel()
            await database.close()


async def _compare(database: Database, writers: int, progress: Progress) -> Figure:
    task = progress.add_task(f"a write: {writers} at once", total=ROUNDS * 2)
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(ROUNDS):
        for write, rounds in ((_write_bare, bare), (_write_ours, ours)):
            rounds.append(await _per_second(database, write, writers))
            progress.advance(task)
    medians = statistics.median(bare), statistics.median(ours)
    return Figure(
        case=f"a write, {writers} at once",
        value=medians[1] / medians[0],
        unit="of the bare",
        detail=f"{medians[1]:,.0f}/s, bare {medians[0]:,.0f}/s",
    )


async def _per_second(database: Database, write: Write, writers: int) -> float:
    started = time.perf_counter()

    async def write_on(environment: str) -> int:
        for number in itertools.count():
            if time.perf_counter() - started > ROUND_SECONDS:
                return number
            key = f"{write.__name__.strip('_')}/{number % KEYS}"
            await database.transact(partial(write, environment=environment, key=key))
        raise AssertionError("unreachable")

    names = [f"writer-{number}" for number in range(1, writers + 1)]
    counts = await asyncio.gather(*map(write_on, names))
    return sum(counts) / (time.perf_counter() - started)


async def _write_ours(connection: Connection, environment: str, key: str) -> None:
    content = Content(kind=Kind.SETTING, value=_VALUE)
    operation = Operation(key=key, content=content, expected=None)
    await apply(connection, environment, [operation], actor="bench", authority=OPERATOR_AUTHORITY)


async def _write_bare(connection: Connection, environment: str, key: str) -> None:
    revision = await connection.fetchval(
        "update environments set revision = revision + 1 where name = $1 returning revision",
        environment,
    )
    version = await connection.fetchval(
        "insert into configurations (environment, key, kind, value, version, updated_revision) "
        "values ($1, $2, 'setting', $3, 1, $4) "
        "on conflict on constraint configurations_environment_key_unique do update "
        "set value = excluded.value, version = configurations.version + 1, "
        "updated_revision = excluded.updated_revision "
        "returning version",
        environment,
        key,
        _VALUE,
        revision,
    )
    await connection.execute(
        "insert into change_sets (environment, revision, kind, actor) "
        "values ($1, $2, 'edit', 'bench')",
        environment,
        revision,
    )
    await connection.execute(
        "insert into changes "
        "(environment, revision, key, after_kind, after_value, after_version) "
        "values ($1, $2, $3, 'setting', $4, $5)",
        environment,
        revision,
        key,
        _VALUE,
        version,
    )
