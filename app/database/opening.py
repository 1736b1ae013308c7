"""From settings to an open database: a server of one's own, or the embedded one with its roles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from app.database.client.connector import Connector
from app.database.client.pool import Database
from app.database.client.primary import Primary
from app.database.client.reasons import connecting, reason_of
from app.database.client.session_setup import prepare_as_owner, prepare_connection
from app.database.embedded import EmbeddedError, EmbeddedServer
from app.database.role_names import APP, BACKUP, MIGRATOR
from app.database.roles.provision import Provisioner
from app.log import logger
from app.settings import Settings, Target, Tls, TlsMode
from app.tasks import Backoff
from app.threads import in_thread

log = logger(__name__)

WATCH_SECONDS = 0.5
_WATCH_PAUSE_MAX_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The ways in: as the app role for work, as the migrator for the schema, and for a backup as
    who reads everything: the backup role, or the migrator where none is named.
    """

    app: Target
    migrator: Target
    backup: Target


def embedded_server(settings: Settings) -> EmbeddedServer:
    """Return the embedded server of DATA_DIR, not started."""
    return EmbeddedServer(settings.data_dir, account=settings.database.embedded_account)


@contextmanager
def targets(settings: Settings) -> Iterator[Targets]:
    """Yield the ways in, with the embedded server running and provisioned if that is what is used.

    Blocks. Raises EmbeddedError when the embedded server cannot be had.
    """
    database = settings.database
    if database.target is not None:
        migrator = database.migrator or database.target
        yield Targets(app=database.target, migrator=migrator, backup=database.backup or migrator)
        return
    server = embedded_server(settings)
    try:
        server.start()
        yield _embedded_targets(server, settings)
    finally:
        server.leave()


def _embedded_targets(server: EmbeddedServer, settings: Settings) -> Targets:
    superuser = server.superuser
    provisioner = Provisioner(
        admin=superuser,
        settings=settings.database,
        folder=settings.data_dir / "credentials",
        # They are made here, and the only way in is the socket of this very folder.
        takes_any_password=True,
    )
    # Repeated at each start: cheap, and a first start that was killed half-way is finished.
    provisioner.provision(reset_passwords=True)
    found = provisioner.targets()

    def here(role: str) -> Target:
        # The data folder may have been moved since its URLs were written.
        target = superuser.named(provisioner.database).as_role(role, found[role].password)
        return Target(
            hosts=target.hosts,
            database=target.database,
            user=target.user,
            password=target.password,
            tls=Tls(mode=TlsMode.DISABLE),
        )

    return Targets(app=here(APP), migrator=here(MIGRATOR), backup=here(BACKUP))


@asynccontextmanager
async def held_targets(settings: Settings) -> AsyncIterator[Targets]:
    """Do as `targets` does, in a thread."""
    context = targets(settings)
    entering = asyncio.ensure_future(in_thread("database", context.__enter__))

    def leave() -> Awaitable[object]:
        return in_thread("database", lambda: context.__exit__(None, None, None))

    try:
        found = await asyncio.shield(entering)
    except asyncio.CancelledError:
        # Wait for the embedded server to start, or it would be left running.
        await _finish(entering)
        if entering.exception() is None:
            await _finish(asyncio.ensure_future(leave()))
        raise
    try:
        yield found
    finally:
        await leave()


async def _finish(work: "asyncio.Future[Any]") -> None:
    """Wait until the work is done, however often the waiting task is cancelled meanwhile."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


async def probe(target: Target, settings: Settings, primary: Primary | None = None) -> Target:
    """Connect once, close the connection, and return the target with the primary as its only host.

    Migrations use libpq, which cannot tell a wrong password from a server that is away, does not
    try again, and knows no timelines. Raises DatabaseRefusedError, which says whether a later
    attempt may succeed.
    """
    primary = primary or Primary(settings.data_dir)
    with connecting(target, settings.database):
        session = await Connector(target, settings.database, primary)()
    await session.close(timeout=settings.database.command_timeout_seconds)
    return replace(target, hosts=(session.address,))


@asynccontextmanager
async def open_database(settings: Settings, *, as_owner: bool = False) -> AsyncIterator[Database]:
    """Yield an open pool with the service's own limits; for scripts and commands.

    `as_owner` is for what the app role may not do, such as a change of history's sealed bytes; it
    goes the migrator's way. Raises DatabaseRefusedError and EmbeddedError.
    """
    async with held_targets(settings) as found:
        database = Database(settings.database, Primary(settings.data_dir))
        target = found.migrator if as_owner else found.app
        prepare = prepare_as_owner if as_owner else prepare_connection
        with connecting(target, settings.database):
            await database.open(target, prepare)
        try:
            yield database
        finally:
            await database.close()


async def watch_embedded(settings: Settings) -> None:
    """Start the embedded server again whenever it dies, for as long as this runs."""
    server = embedded_server(settings)
    backoff = Backoff(WATCH_SECONDS, _WATCH_PAUSE_MAX_SECONDS)
    while True:
        await backoff.pause()
        try:
            await in_thread("embedded-watch", server.ensure_running)
        except (EmbeddedError, OSError) as error:
            # After kill -9 its children may hold the shared memory for a moment longer; and a full
            # disk, or no file left to open, must not end this watch.
            log.warning("embedded_server_not_back", reason=reason_of(error))
        else:
            backoff.reset()
