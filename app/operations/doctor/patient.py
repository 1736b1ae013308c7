"""What is examined: the settings, and the ways into the database that could be opened."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import psycopg

from app.database import Database
from app.database.client.primary import Primary
from app.database.client.reasons import reason_of
from app.database.opening import Targets, embedded_server, held_targets
from app.errors import ForeseenError
from app.settings import Settings, Target
from app.settings.review import Review

# For one attempt to connect, and for one statement; the settings' own may be shorter or far longer.
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 5.0
_REFUSALS = (
    *(ForeseenError, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, psycopg.Error),
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way into the database: open, or why it is not."""

    target: Target
    database: Database | None
    seconds: float
    trouble: str = ""


@dataclass(kw_only=True)
class Patient:
    """`trouble` says why there are no ways in at all."""

    settings: Settings
    targets: Targets | None = None
    app: Way | None = None
    migrator: Way | None = None
    trouble: str = ""
    # Kept from the first check that asks for it.
    review: Review | None = None

    @property
    def database(self) -> Database:
        """The app role's. Asked for by checks alone that are run when it is there."""
        if self.app is None or self.app.database is None:
            raise RuntimeError("the database is not open")
        return self.app.database


@asynccontextmanager
async def admitted(settings: Settings) -> AsyncIterator[Patient]:
    """Open what can be opened. Writes nothing: an embedded server that was never made is not made,
    one that is there is started as any command starts it.
    """
    patient = Patient(settings=settings)
    async with AsyncExitStack() as stack:
        if settings.database.target is None and not embedded_server(settings).is_made:
            patient.trouble = "there is no embedded PostgreSQL yet; `make run` makes it"
        else:
            try:
                patient.targets = await stack.enter_async_context(held_targets(settings))
            except _REFUSALS as error:
                patient.trouble = reason_of(error)
        if patient.targets is not None:
            patient.app = await _open(stack, settings, patient.targets.app)
            if patient.targets.migrator != patient.targets.app:
                patient.migrator = await _open(stack, settings, patient.targets.migrator)
        yield patient


async def _open(
    stack: AsyncExitStack,
    settings: Settings,
    target: Target,
) -> Way:
    own = replace(
        settings.database,
        pool_min=0,
        pool_max=1,
        connect_attempts=1,
        connect_timeout_seconds=CONNECT_SECONDS,
        acquire_timeout_seconds=CONNECT_SECONDS,
        command_timeout_seconds=STATEMENT_SECONDS,
    )
    database = Database(own, Primary(settings.data_dir, writes=False))
    started = time.monotonic()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await database.open(target)
    except Exception as error:  # noqa: BLE001 - one way in must not end the examination
        seconds = time.monotonic() - started
        return Way(target=target, database=None, seconds=seconds, trouble=reason_of(error))
    stack.push_async_callback(database.close)
    return Way(target=target, database=database, seconds=time.monotonic() - started)
