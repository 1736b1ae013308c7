"""The installation that the doctor examines: its settings and its database connections."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from app.database import Database
from app.database.client.primary import Primary
from app.database.client.reasons import reason_of
from app.database.targets import embedded_server, open_targets_async
from app.operations.doctor.findings import Finding, failed, warned
from app.program import PROGRAM
from app.settings import STRICT_TIERS, Settings, Target

# The limits for one attempt to connect and for one statement. The settings do not change them.
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Connected:
    """The result of one attempt to connect: `database` is None where it failed."""

    target: Target
    database: Database | None
    seconds: float
    problem: str = ""


@dataclass(kw_only=True)
class Installation:
    """`problem` says why there was no attempt to connect."""

    settings: Settings
    migrator_target: Target | None = None
    app: Connected | None = None
    migrator: Connected | None = None
    problem: str = ""

    @property
    def is_connected(self) -> bool:
        """Whether the service's own connection is open."""
        return self.app is not None and self.app.database is not None

    @property
    def database(self) -> Database:
        """The app role's database, for checks that run only when it is open."""
        if self.app is None or self.app.database is None:
            raise RuntimeError("the database is not open")
        return self.app.database

    def unsafe(self, name: str, text: str) -> Finding:
        """Return a failure in staging and production, a warning in the tiers below."""
        return (failed if self.settings.tier in STRICT_TIERS else warned)(name, text)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Installation]:
    """Open the database of each role. Writes nothing and creates no embedded server."""
    installation = Installation(settings=settings)
    async with AsyncExitStack() as stack:
        if settings.database.target is None and not embedded_server(settings).exists:
            installation.problem = (
                f"there is no embedded PostgreSQL yet; `{PROGRAM} serve` creates it"
            )
        else:
            try:
                targets = await stack.enter_async_context(open_targets_async(settings))
            except Exception as error:  # noqa: BLE001 - the other checks must run
                installation.problem = reason_of(error)
            else:
                installation.migrator_target = targets.migrator
                installation.app = await _connect(stack, settings, targets.app)
                if targets.migrator != targets.app:
                    installation.migrator = await _connect(stack, settings, targets.migrator)
        yield installation


async def _connect(stack: AsyncExitStack, settings: Settings, target: Target) -> Connected:
    limited = replace(
        settings.database,
        pool_min=0,
        pool_max=1,
        connect_attempts=1,
        connect_timeout_seconds=CONNECT_SECONDS,
        acquire_timeout_seconds=CONNECT_SECONDS,
        command_timeout_seconds=STATEMENT_SECONDS,
    )
    database = Database(limited, Primary(settings.data_dir, writes=False))
    started = time.monotonic()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await database.open(target)
    except Exception as error:  # noqa: BLE001 - the other checks must run
        seconds = time.monotonic() - started
        return Connected(target=target, database=None, seconds=seconds, problem=reason_of(error))
    stack.push_async_callback(database.close)
    return Connected(target=target, database=database, seconds=time.monotonic() - started)
