"""Checks of the database server: connections, TLS, limits, clock and durability."""

import time
from collections.abc import Sequence

from app.database import sql
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.installation import Connected, Installation
from app.settings import Pooler, TlsMode

# The share of the server's connections for this instance; others and migrations need the rest.
CONNECTIONS_SHARE_MAX = 0.8
# The migrator and one command.
_MIGRATION_CONNECTIONS = 2
# A token expires by the clock of each instance. More than 1 s apart they disagree by more than
# the 1 s within which a revocation takes effect.
CLOCK_WARN_SECONDS = 1.0
# Two heartbeats: an instance would look as if it had missed them.
CLOCK_FAIL_SECONDS = 30.0
_CLOCK_ROUNDS = 5


# The risk of each of these server settings when it is off, and the verdict.
_DURABILITY = {
    "fsync": (failed, "a crash of the machine may lose or corrupt all data"),
    "full_page_writes": (failed, "a crash of the machine may corrupt tables"),
    "synchronous_commit": (failed, "an acknowledged write may be lost"),
    "data_checksums": (warned, "corruption by the disk is not detected"),
}


async def check_connections(installation: Installation) -> Sequence[Finding]:
    """Check that the app's and the migrator's connection take writes."""
    if installation.app is None:
        return [failed("connection", installation.problem)]
    app = await _connection_finding("app connection", installation.app)
    if installation.migrator is None:
        because = "DATABASE_MIGRATOR_URL is not set, so migrations use DATABASE_URL"
        return [app, absent("migrator connection", because)]
    return [app, await _connection_finding("migrator connection", installation.migrator)]


async def _connection_finding(name: str, connected: Connected) -> Finding:
    if connected.database is None:
        return failed(name, f"{connected.target.summary} cannot be reached: {connected.problem}")
    async with connected.database.connection() as connection:
        state = await sql.get_server_state(connection)
    milliseconds = connected.seconds * 1000
    text = f"{connected.target.summary} in {milliseconds:.0f} ms, PostgreSQL {state['version']}"
    if state["is_standby"] or state["is_read_only"]:
        mode = "a standby" if state["is_standby"] else "read-only"
        return failed(name, f"{text}, which is {mode}: it takes no writes")
    return passed(name, f"{text}, takes writes")


async def check_tls(installation: Installation) -> Sequence[Finding]:
    """Check the TLS that the app's connection actually uses."""
    settings, app = installation.settings, installation.app
    if app is not None and app.target.is_socket:
        return [absent("TLS", "a Unix socket needs none")]
    if settings.database.pooler is not Pooler.NONE:
        return [absent("TLS", "the server sees the pooler's connection, not ours")]
    async with installation.database.connection() as connection:
        tls = await sql.find_own_tls(connection)
    if tls is None or not tls["is_used"]:
        text = "is not in use: the network between can read and change everything"
        return [installation.unsafe("TLS", text)]
    text = f"{tls['version']}, {tls['cipher']}"
    mode = app.target.tls.mode if app is not None else None
    if mode is not TlsMode.VERIFY_FULL:
        text = f"{text}, but sslmode {mode} does not verify the server; use verify-full"
        return [installation.unsafe("TLS", text)]
    return [passed("TLS", f"{text}, verify-full")]


async def check_connection_limit(installation: Installation) -> Sequence[Finding]:
    """Compare the connections of one instance with the limit of server, role and database."""
    settings = installation.settings
    if settings.database.pooler is not Pooler.NONE:
        return [absent("connections", "the pooler limits them")]
    needed = (settings.database.pool_max + 1) * settings.http.workers
    async with installation.database.connection() as connection:
        row = await sql.get_connection_limits(connection)
    limits = row["server_limit"] - row["reserved"], row["role_limit"], row["database_limit"]
    limit = min(limit for limit in limits if limit >= 0)
    text = f"an instance takes up to {needed} of {limit}: WORKERS * (DATABASE_POOL_MAX + 1)"
    if needed + _MIGRATION_CONNECTIONS > limit:
        return [failed("connections", f"{text}, and migrations need {_MIGRATION_CONNECTIONS}")]
    if needed > CONNECTIONS_SHARE_MAX * limit:
        return [warned("connections", f"{text}, above {CONNECTIONS_SHARE_MAX:.0%}")]
    return [passed("connections", text)]


async def check_clock(installation: Installation) -> Sequence[Finding]:
    """Compare the server's clock with ours, by the shortest of several round trips."""
    rounds: list[tuple[float, float]] = []
    async with installation.database.connection() as connection:
        for _ in range(_CLOCK_ROUNDS):
            before = time.time()
            server_time = await sql.get_server_time(connection)
            after = time.time()
            rounds.append((after - before, server_time.timestamp() - (before + after) / 2))
    round_trip, difference = min(rounds, key=lambda pair: pair[0])
    return [clock_finding(difference, round_trip)]


def clock_finding(difference: float, round_trip: float) -> Finding:
    """Judge a difference in seconds. Its error is half of the round trip."""
    milliseconds = difference * 1000
    text = f"{milliseconds:+.1f} ms from ours, by a round trip of {round_trip * 1000:.1f} ms"
    if abs(difference) > CLOCK_FAIL_SECONDS:
        return failed("clock", text)
    if abs(difference) > CLOCK_WARN_SECONDS:
        return warned("clock", text)
    return passed("clock", text)


async def check_durability(installation: Installation) -> Sequence[Finding]:
    """Check the server settings that an acknowledged write relies on."""
    async with installation.database.connection() as connection:
        rows = sql.list_server_settings(connection, names=list(_DURABILITY))
        values = {row["name"]: row["setting"] async for row in rows}
    return [
        verdict(name, f"off: {risk}") if values[name] == "off" else passed(name, values[name])
        for name, (verdict, risk) in _DURABILITY.items()
    ]
