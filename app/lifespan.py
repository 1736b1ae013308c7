"""What opens and closes, in order.

The listener is up before any of it, so that liveness answers while a start waits for its database.
What may mend itself is tried again for as long as it takes; what cannot (a wrong password, an
edited migration) ends the process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import psycopg
from aiohttp import web

from app.access.directory import TokenDirectory
from app.access.guard import TOKENS
from app.access.local import ensure_admin_token, token_key
from app.database import Database
from app.database.connector import is_transient
from app.database.listener import listen
from app.database.migrations import Migrator
from app.database.opening import Targets, held_targets, probe, watch_embedded
from app.database.role_check import check_role
from app.database.threads import in_thread
from app.errors import Unavailable
from app.health.handlers import HEALTH
from app.health.heartbeat import Heartbeat
from app.health.report import Health
from app.health.schema import CHECK_SECONDS, SchemaCheck
from app.http.keys import DATABASE, LIFECYCLE, SETTINGS
from app.http.lifecycle import Lifecycle
from app.log import logger
from app.seeds import seed
from app.settings import Pooler, Settings, Target
from app.snapshots.follower import Follower
from app.snapshots.reading import FOLLOWER
from app.tasks import Tasks, jittered, repeat

log = logger(__name__)

TASKS: web.AppKey[Tasks] = web.AppKey("tasks", Tasks)
HEARTBEAT: web.AppKey[Heartbeat] = web.AppKey("heartbeat", Heartbeat)
SCHEMA: web.AppKey[SchemaCheck] = web.AppKey("schema", SchemaCheck)

Result = TypeVar("Result")
_PAUSE_SECONDS_MAX = 5.0


def prepare(app: web.Application, settings: Settings) -> None:
    """Make everything that handlers ask for, closed; `lifespan` opens it."""
    database = Database(settings.database)
    app[SETTINGS] = settings
    app[DATABASE] = database
    app[LIFECYCLE] = lifecycle = Lifecycle()
    app[TOKENS] = TokenDirectory(database)
    app[TASKS] = tasks = Tasks()
    app[HEARTBEAT] = heartbeat = Heartbeat(database, settings.health, settings.instance)
    app[SCHEMA] = schema = SchemaCheck(database)
    app[FOLLOWER] = follower = Follower(database)
    app[HEALTH] = Health(
        lifecycle=lifecycle,
        database=database,
        heartbeat=heartbeat,
        schema=schema,
        follower=follower,
        tasks=tasks,
        instance=settings.instance,
    )


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    """Start in the background; on the way out stop the tasks first, then close what they used."""
    async with AsyncExitStack() as stack:
        tasks = app[TASKS]
        try:
            tasks.start("start", _start(app, stack))
            yield
        finally:
            await tasks.stop()


async def _start(app: web.Application, stack: AsyncExitStack) -> None:
    """Open everything in order, then keep the background tasks running."""
    settings, tasks = app[SETTINGS], app[TASKS]
    try:
        found = await stack.enter_async_context(held_targets(settings))
        if settings.database.target is None:
            tasks.start("embedded", watch_embedded(settings))
        log.info("database", target=found.app.summary)
        await _migrate(settings, found)
        await stack.enter_async_context(_opened(app[DATABASE], found.app))
        await _until_possible("check_schema", lambda: _schema(app[SCHEMA]))
        tasks.start("heartbeat", app[HEARTBEAT].run())
        await _until_possible("check_role", lambda: check_role(app[DATABASE], settings.tier))
        await _until_possible("read_tokens", lambda: _tokens(app))
        await _until_possible("seed", lambda: seed(settings, app[DATABASE]))
        await _until_possible("load_snapshots", app[FOLLOWER].refresh)
    except Exception as error:  # noqa: BLE001 - it ends the process, and is raised there
        app[LIFECYCLE].fail(error)
        return
    tasks.start("tokens", app[TOKENS].run())
    tasks.start("follower", app[FOLLOWER].run())
    if settings.database.pooler is Pooler.NONE:
        # Through a pooler nothing can be listened to: there the poll alone keeps up.
        hint = app[FOLLOWER].hint
        tasks.start("listener", listen(found.app, settings.database, hint))
    tasks.start("schema", repeat(lambda: CHECK_SECONDS, app[SCHEMA].run_once))
    app[LIFECYCLE].started.set()
    log.info("started", tier=settings.tier, port=settings.http.port)


@asynccontextmanager
async def _opened(database: Database, target: Target) -> AsyncIterator[None]:
    """Open the pool, waiting for the database for as long as it takes, and close it at the end."""
    await _until_possible("connect", lambda: database.open(target))
    try:
        yield
    finally:
        await database.close()


async def _migrate(settings: Settings, found: Targets) -> None:
    if not settings.database.migrate_on_start:
        return
    migrator = Migrator(
        target=found.migrator, settings=settings.database, instance=settings.instance
    )
    await _until_possible("migrate", lambda: probe(found.migrator, settings))
    applied = await _until_possible("migrate", lambda: in_thread("migrate", migrator.migrate))
    log.info("migrated", applied=len(applied))


async def _schema(schema: SchemaCheck) -> None:
    """Make sure that the schema is what the code needs, where somebody else migrates it."""
    await schema.look()
    if schema.state is not None and schema.state.pending:
        raise Unavailable("migrations_pending", "The schema is older than the code.")


async def _tokens(app: web.Application) -> None:
    settings, directory = app[SETTINGS], app[TOKENS]
    directory.use_key(token_key(settings))
    await directory.refresh()
    path = await ensure_admin_token(settings, app[DATABASE], directory)
    if path is not None:
        log.info("admin_token", file=str(path))


async def _until_possible(what: str, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work; while the database is away, wait and do it again."""
    pause = 0.5
    while True:
        try:
            return await work()
        except Exception as error:
            if not _may_pass(error):
                raise
            reason = error.code if isinstance(error, Unavailable) else type(error).__name__
            log.warning("waiting_for_database", to=what, reason=reason)
        await asyncio.sleep(jittered(pause))
        pause = min(pause * 2, _PAUSE_SECONDS_MAX)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, psycopg.OperationalError):
        # Classes 08, 53, 55, 57: connection, resources, locks, shutdown. No state: the connection
        # broke, and that it could be made was probed just before.
        return error.sqlstate is None or error.sqlstate.startswith(("08", "53", "55", "57"))
    return isinstance(error, Unavailable) or is_transient(error)
