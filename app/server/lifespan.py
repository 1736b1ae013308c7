"""What opens and closes, in order.

The listener is up before any of it, so that liveness answers while a start waits for its database.
What may mend itself is tried again for as long as it takes; what cannot (a wrong password, an
edited migration) ends the process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from aiohttp import web

from app import memory as collector
from app.access.directory import CHANGE_OF_TOKENS
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.last_used import TOKEN_USE
from app.access.local_credentials import ensure_admin_token, token_key
from app.configuration.changes.write_requests import CHECKS
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.reading import FOLLOWER
from app.database.client.listener import listen
from app.database.client.reasons import connecting
from app.database.migrations import Migrator
from app.database.opening import held_targets, probe, watch_embedded
from app.database.roles.check import check_role
from app.errors import ForeseenError, Unavailable
from app.flags.handlers import USAGE
from app.flags.ofrep.tickets import TICKETS
from app.health.handlers import HEALTH
from app.http.idempotency_key import DIGESTS
from app.http.keys import DATABASE, LIFECYCLE, SETTINGS
from app.log import logger
from app.operations.metrics.handlers import PEERS
from app.schema.version_check import SchemaCheck
from app.secrets.reading import VAULT
from app.secrets.rings import wrapper_of
from app.server.assembly import DRIFT, HEAD_EXPORT, HEARTBEAT, KEEPER, SCHEDULE, SCHEMA, TASKS
from app.server.sample_data import seed
from app.server.startup_retry import Waiting
from app.settings import Pooler, Target
from app.threads import in_thread

log = logger(__name__)

# A start that takes longer is held up by something, though nothing has failed yet.
_PROMPT_SECONDS = 1.0


class StopError(ForeseenError):
    """A stop that took too long; the process must still end, with an exit code of its own."""


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    """Start in the background. At the end stop the tasks first, then close what they used."""
    async with AsyncExitStack() as stack:
        tasks = app[TASKS]
        stack.push_async_callback(app[ACCESS_LOG].close)
        stack.push_async_callback(app[CHECKS].close)
        try:
            tasks.start("metrics", partial(_tell_peers, app))
            # Before the database is there: refusals come while the last known state is served.
            tasks.start("access_log", app[ACCESS_LOG].run)
            tasks.start("start", partial(_start, app, stack))
            yield
        finally:
            if names := await tasks.stop():
                app[LIFECYCLE].fail(StopError(f"tasks did not stop: {', '.join(names)}"))


async def _start(app: web.Application, stack: AsyncExitStack) -> None:
    """Open everything in order, then keep the background tasks running."""
    settings, tasks, waiting = app[SETTINGS], app[TASKS], Waiting()
    primary = app[DATABASE].primary
    try:
        _use_key(app)
        tasks.start("last_known", partial(_serve_last_known, app, waiting))
        found = await stack.enter_async_context(held_targets(settings))
        if settings.database.target is None:
            tasks.start("embedded", partial(watch_embedded, settings))
        log.info("database", target=found.app.summary)
        await _migrate(app, found.migrator, waiting)
        await stack.enter_async_context(_opened(app, found.app, waiting))
        await waiting.until_possible("check_schema", lambda: _schema(app[SCHEMA]))
        tasks.start("heartbeat", app[HEARTBEAT].run)
        await waiting.until_possible("check_role", lambda: check_role(app[DATABASE], settings.tier))
        await app[DRIFT].look_first()
        await waiting.until_possible("check_keys", lambda: _keys(app))
        await waiting.until_possible("read_tokens", lambda: _tokens(app))
        await waiting.until_possible("seed", lambda: seed(settings, app[DATABASE]))
        await waiting.until_possible("load_snapshots", app[FOLLOWER].refresh)
    except Exception as error:  # noqa: BLE001 - it ends the process, and is raised there
        app[LIFECYCLE].fail(error)
        return
    collector.start()
    tasks.start("collector", collector.run)
    tasks.start("tokens", app[TOKENS].run)
    tasks.start("token_use", app[TOKEN_USE].run)
    tasks.start("follower", app[FOLLOWER].run)
    tasks.start("keeper", app[KEEPER].run)
    tasks.start("usage", app[USAGE].run)
    if app[HEALTH].is_first:
        # What is done once a machine, and not once a worker.
        tasks.start("audit_heads", app[HEAD_EXPORT].run)
        if app[SCHEDULE].is_on:
            tasks.start("backups", app[SCHEDULE].run)
    tasks.start("keys", partial(app[VAULT].run, app[DATABASE]))
    if settings.database.pooler is Pooler.NONE:
        # Through a pooler nothing can be listened to: there the poll alone keeps up.
        tasks.start("listener", partial(listen, found.app, settings.database, _hint(app), primary))
    if len(found.app.hosts) > 1:
        tasks.start("primary", partial(app[DATABASE].watch.run, found.app, settings.database))
    tasks.start("schema", app[SCHEMA].run)
    tasks.start("drift", app[DRIFT].run)
    app[LIFECYCLE].start()
    log.info("started", tier=settings.tier, port=settings.http.port)


def _hint(app: web.Application) -> Callable[[str], None]:
    """Return what passes a notification on; an empty one says that any may have been missed."""
    follower, directory = app[FOLLOWER], app[TOKENS]

    def hint(payload: str) -> None:
        if payload != CHANGE_OF_TOKENS:
            follower.hint()
        if payload in {"", CHANGE_OF_TOKENS}:
            directory.hint()

    return hint


async def _tell_peers(app: web.Application) -> None:
    await app[LIFECYCLE].serving.wait()
    await app[PEERS].run()


def _use_key(app: web.Application) -> None:
    """Give each key of the installation to all that needs it.

    Raises DataFolderError and KeyRingError.
    """
    settings = app[SETTINGS]
    key = token_key(settings)
    app[TOKENS].use_key(key)
    app[TICKETS].use_key(key)
    app[DIGESTS].use_key(key)
    app[HEAD_EXPORT].use_key(key)
    app[SCHEDULE].use_key(key)
    app[VAULT].use_wrapper(wrapper_of(settings))
    if settings.snapshot_on_disk:
        app[KEEPER].use_disk(Disk(settings.data_dir, key, settings.tier))


async def _serve_last_known(app: web.Application, waiting: Waiting) -> None:
    """Serve from disk once the start is held up; until then the database knows more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PROMPT_SECONDS):
            await waiting.held_up.wait()
    if await app[KEEPER].serve_last_known():
        app[LIFECYCLE].serving.set()


@asynccontextmanager
async def _opened(app: web.Application, target: Target, waiting: Waiting) -> AsyncIterator[None]:
    """Open the pool, waiting for the database for as long as it takes, and close it at the end."""
    database, settings = app[DATABASE], app[SETTINGS].database

    async def connect() -> None:
        with connecting(target, settings):
            await database.open(target)

    await waiting.until_possible("connect", connect)
    try:
        yield
    finally:
        await database.close()


async def _migrate(app: web.Application, target: Target, waiting: Waiting) -> None:
    settings, primary = app[SETTINGS], app[DATABASE].primary
    if not settings.database.migrate_on_start:
        return

    async def migrate() -> Sequence[str]:
        # Again at each attempt: the primary may be another server by then.
        migrator = Migrator(
            target=await probe(target, settings, primary),
            settings=settings.database,
            instance=settings.instance,
        )
        return await in_thread("migrate", migrator.migrate)

    applied = await waiting.until_possible("migrate", migrate)
    log.info("migrated", applied=len(applied))


async def _schema(schema: SchemaCheck) -> None:
    """Make sure that the schema is what the code needs, where somebody else migrates it."""
    await schema.look()
    if schema.state is not None and schema.state.pending:
        raise Unavailable(
            "migrations_pending",
            "The schema is older than this release; run `make migrate`.",
        )


async def _keys(app: web.Application) -> None:
    """Make sure that every data key can be unwrapped, so that no secret fails later."""
    async with app[DATABASE].connection() as connection:
        await app[VAULT].check(connection)


async def _tokens(app: web.Application) -> None:
    settings, directory = app[SETTINGS], app[TOKENS]
    await directory.refresh()
    path = await ensure_admin_token(settings, app[DATABASE], directory, app[ACCESS_LOG])
    if path is not None:
        log.info("admin_token", file=str(path))
