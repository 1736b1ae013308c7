"""Turn the settings into connection targets and open pools; start the embedded server if needed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.database.client.connector import Connector
from app.database.client.pool import Database
from app.database.client.primary import Primary, Session
from app.database.client.reasons import connecting, reason_of
from app.database.client.session_setup import prepare_as_owner, prepare_connection
from app.database.embedded import EmbeddedError, EmbeddedServer
from app.database.embedded.cluster import MAJOR
from app.database.role_names import APP, BACKUP, MIGRATOR, PREFIX
from app.database.roles.credentials import read_targets
from app.database.roles.provisioned import ProvisionedState
from app.log import logger
from app.settings import Settings, Target
from app.tasks import Backoff
from app.threads import in_thread

log = logger(__name__)

WATCH_SECONDS = 0.5
_WATCH_PAUSE_MAX_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The connection targets, one per task: requests, migrations, backups.

    `backup` is the migrator's target if DATABASE_BACKUP_URL is unset.
    """

    app: Target
    migrator: Target
    backup: Target


def embedded_server(settings: Settings) -> EmbeddedServer:
    """Return the embedded server of DATA_DIR, without starting it."""
    return EmbeddedServer(settings.data_dir, account=settings.database.embedded_account)


@contextmanager
def open_targets(settings: Settings) -> Iterator[Targets]:
    """Yield the targets. Without DATABASE_URL, start and provision the embedded server first.

    Blocks. Raises EmbeddedError if the embedded server cannot start.
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
    superuser, state = server.superuser, provisioned_state(server, settings)
    if not state.is_current():
        _provision(superuser, settings, state.folder)
        state.remember()
    provisioned = read_targets(state.folder)

    def socket_target(role: str) -> Target:
        # Use the current socket: the data folder may have moved since its URLs were written.
        return superuser.named(PREFIX).as_role(role, provisioned[role].password)

    return Targets(
        app=socket_target(APP),
        migrator=socket_target(MIGRATOR),
        backup=socket_target(BACKUP),
    )


def provisioned_state(server: EmbeddedServer, settings: Settings) -> ProvisionedState:
    """Return the state of a server that runs."""
    return ProvisionedState(
        admin=server.superuser,
        settings=settings.database,
        folder=settings.data_dir / "credentials",
        file=settings.data_dir / f"pg{MAJOR}.provisioned",
    )


def _provision(superuser: Target, settings: Settings, folder: Path) -> None:
    """Complete a first start that was killed, and repair what was changed since."""
    from app.database.roles.provision import Provisioner  # noqa: PLC0415 - see provisioned.py

    provisioner = Provisioner(
        admin=superuser,
        settings=settings.database,
        folder=folder,
        # We generate the passwords, and the server listens only on the socket in this folder.
        takes_any_password=True,
    )
    provisioner.provision(reset_passwords=True)


@asynccontextmanager
async def open_targets_async(settings: Settings) -> AsyncIterator[Targets]:
    """Run `open_targets` in a thread."""
    context = open_targets(settings)
    entering = asyncio.ensure_future(in_thread("database", context.__enter__))

    def leave() -> Awaitable[object]:
        return in_thread("database", lambda: context.__exit__(None, None, None))

    try:
        opened = await asyncio.shield(entering)
    except asyncio.CancelledError:
        # Wait until the embedded server has started, or it would continue to run.
        await _finish(entering)
        if entering.exception() is None:
            await _finish(asyncio.ensure_future(leave()))
        raise
    try:
        yield opened
    finally:
        await leave()


async def _finish(work: "asyncio.Future[Any]") -> None:
    """Wait until the work is done, even if this task is cancelled again meanwhile."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


async def probe(target: Target, settings: Settings, primary: Primary | None = None) -> Target:
    """Connect once, close the connection, and return the target with the primary as its only host.

    Migrations use libpq, which does not retry, does not check timelines, and reports a wrong
    password like an unreachable server. Raises DatabaseRefusedError, which says whether a later
    attempt may succeed.
    """
    async with connected(target, settings, primary or Primary(settings.data_dir)) as session:
        return replace(target, hosts=(session.address,))


@asynccontextmanager
async def connected(target: Target, settings: Settings, primary: Primary) -> AsyncIterator[Session]:
    """Yield one connection to the primary. Raises DatabaseRefusedError."""
    with connecting(target, settings.database):
        session = await Connector(target, settings.database, primary)()
    try:
        yield session
    finally:
        await session.close(timeout=settings.database.command_timeout_seconds)


@asynccontextmanager
async def open_database(settings: Settings, *, as_owner: bool = False) -> AsyncIterator[Database]:
    """Yield an open pool with the limits of the service, for scripts and commands.

    `as_owner` connects as the migrator, for changes that the app role may not make: for example, to
    reseal values in the history. Raises DatabaseRefusedError and EmbeddedError.
    """
    async with open_targets_async(settings) as targets:
        database = Database(settings.database, Primary(settings.data_dir))
        target = targets.migrator if as_owner else targets.app
        prepare = prepare_as_owner if as_owner else prepare_connection
        with connecting(target, settings.database):
            await database.open(target, prepare)
        try:
            yield database
        finally:
            await database.close()


async def watch_embedded(settings: Settings) -> None:
    """Restart the embedded server each time it dies, until this task is cancelled."""
    server = embedded_server(settings)
    backoff = Backoff(WATCH_SECONDS, _WATCH_PAUSE_MAX_SECONDS)
    while True:
        await backoff.pause()
        try:
            await in_thread("embedded-watch", server.ensure_running)
        except (EmbeddedError, OSError) as error:
            # Retry: after kill -9 the children of the server use the shared memory a moment longer,
            # and a full disk or a lack of file descriptors may be temporary.
            log.warning("embedded_server_not_back", reason=reason_of(error))
        else:
            backoff.reset()
