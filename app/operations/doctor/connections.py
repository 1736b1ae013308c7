"""The ways into the database: whether they are open, whether they are encrypted, and how many."""

from collections.abc import Sequence

from app.database import sql
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.patient import Patient, Way
from app.settings import STRICT_TIERS, Pooler, TlsMode

# Of what the server gives; the rest is for other instances, migrations and people.
BUDGET_RATIO = 0.8
# The migrator, and a command beside it.
_ASIDE = 2


async def look_at_ways(patient: Patient) -> Sequence[Finding]:
    """Look at the app's way in and the migrator's."""
    if patient.app is None:
        return [failed("connection", patient.trouble)]
    found = [await _looked("app connection", patient.app)]
    if patient.migrator is not None:
        found.append(await _looked("migrator connection", patient.migrator))
    else:
        because = "DATABASE_MIGRATOR_URL is not set, so the app's is used"
        found.append(absent("migrator connection", because))
    return found


async def _looked(name: str, way: Way) -> Finding:
    if way.database is None:
        return failed(name, f"{way.target.summary} cannot be reached: {way.trouble}")
    async with way.database.connection() as connection:
        state = await sql.get_server_state(connection)
    text = f"{way.target.summary} in {way.seconds * 1000:.0f} ms, PostgreSQL {state['version']}"
    if state["is_standby"] or state["is_read_only"]:
        what = "a standby" if state["is_standby"] else "read-only"
        return failed(name, f"{text}, which is {what}: it takes no writes")
    return passed(name, f"{text}, takes writes")


async def look_at_tls(patient: Patient) -> Sequence[Finding]:
    """Look at what our own connection uses, whatever was asked for."""
    settings, way = patient.settings, patient.app
    if way is not None and way.target.is_socket:
        return [absent("TLS", "a Unix socket needs none")]
    if settings.database.pooler is not Pooler.NONE:
        return [absent("TLS", "the server sees the pooler's connection, not ours")]
    async with patient.database.connection() as connection:
        tls = await sql.find_own_tls(connection)
    unsafe = failed if settings.tier in STRICT_TIERS else warned
    if tls is None or not tls["is_used"]:
        return [unsafe("TLS", "is not in use: whoever is in between reads and changes everything")]
    text = f"{tls['version']}, {tls['cipher']}"
    mode = way.target.tls.mode if way is not None else None
    if mode is not TlsMode.VERIFY_FULL:
        return [unsafe("TLS", f"{text}, but sslmode {mode} does not make sure who the server is")]
    return [passed("TLS", f"{text}, verify-full")]


async def look_at_budget(patient: Patient) -> Sequence[Finding]:
    """Look at what one instance takes of what there is; others come on top."""
    settings = patient.settings
    if settings.database.pooler is not Pooler.NONE:
        return [absent("connections", "the pooler decides how many reach the server")]
    wanted = (settings.database.pool_max + 1) * settings.http.workers
    async with patient.database.connection() as connection:
        row = await sql.get_connection_limits(connection)
    limits = row["server_limit"] - row["reserved"], row["role_limit"], row["database_limit"]
    limit = min(each for each in limits if each >= 0)
    text = f"an instance takes up to {wanted} of {limit}: WORKERS times DATABASE_POOL_MAX and one"
    if wanted + _ASIDE > limit:
        return [failed("connections", f"{text}, and migrations need {_ASIDE}")]
    if wanted > BUDGET_RATIO * limit:
        return [warned("connections", f"{text}, above {BUDGET_RATIO:.0%}")]
    return [passed("connections", text)]
