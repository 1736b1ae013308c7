"""The examination: every check in its turn, each with a limit, and none that ends the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import asyncpg
import msgspec
import psycopg

from app.database.client.faults import DatabaseBugError
from app.database.client.reasons import reason_of
from app.errors import ForeseenError
from app.log import logger
from app.operations.doctor import (
    backups,
    connections,
    entries,
    keys,
    machine,
    preferences,
    proof,
    roles,
    schema,
    server,
)
from app.operations.doctor.findings import Finding, absent, failed
from app.operations.doctor.patient import Patient, admitted
from app.settings import Settings

log = logger(__name__)

CHECK_SECONDS = 15.0
# Some six million revisions, at the speed at which `make bench` verifies.
HISTORY_SECONDS = 300.0

# Those whose text may be shown.
_FORESEEN = (ForeseenError, DatabaseBugError, OSError, asyncpg.PostgresError, psycopg.Error)

Report = Callable[[int, int], None]


class Need(Enum):
    """What a check cannot do without."""

    NOTHING = auto()
    APP = auto()
    MIGRATOR = auto()


@dataclass(frozen=True)
class Check:
    """A look at one promise, which may have several parts, each told by a finding of its own."""

    group: str
    name: str
    need: Need
    look: Callable[[Patient], Awaitable[Sequence[Finding]]]
    seconds: float = CHECK_SECONDS


CHECKS = (
    Check("settings", "settings", Need.NOTHING, preferences.look_at_settings),
    Check("settings", "passwords", Need.NOTHING, preferences.look_at_passwords),
    Check("database", "connection", Need.NOTHING, connections.look_at_ways),
    Check("database", "TLS", Need.APP, connections.look_at_tls),
    Check("database", "connections", Need.APP, connections.look_at_budget),
    Check("database", "clock", Need.APP, server.look_at_clock),
    Check("database", "durability", Need.APP, server.look_at_settings),
    Check("roles", "app role", Need.APP, roles.look_at_app_role),
    Check("roles", "roles", Need.APP, roles.look_at_roles),
    Check("roles", "open doors", Need.APP, roles.look_at_open_doors),
    Check("roles", "verifiers", Need.APP, roles.look_at_verifiers),
    Check("schema", "migrations", Need.MIGRATOR, schema.look_at_migrations),
    Check("proof", "schema", Need.APP, proof.look_at_schema),
    Check("proof", "history", Need.APP, proof.look_at_history, seconds=HISTORY_SECONDS),
    Check("entries", "keys of entries", Need.APP, entries.look_at_keys),
    Check("keys", "key ring", Need.NOTHING, keys.look_at_ring),
    Check("keys", "data keys", Need.APP, keys.look_at_data_keys),
    Check("keys", "token key", Need.NOTHING, keys.look_at_token_key),
    Check("backups", "backups", Need.NOTHING, backups.look_at_backups),
    Check("machine", "disk", Need.NOTHING, machine.look_at_disk),
    Check("next tier", "settings", Need.NOTHING, preferences.look_at_next_tier),
)


async def examine(
    settings: Settings,
    report: Report = lambda _done, _total: None,
    checks: Sequence[Check] = CHECKS,
) -> list[Finding]:
    """Return what every check has found, in order. Raises nothing that a check met with."""
    found: list[Finding] = []
    async with admitted(settings) as patient:
        for done, check in enumerate(checks):
            report(done, len(checks))
            found += [
                msgspec.structs.replace(each, group=check.group)
                for each in await _looked(check, patient)
            ]
        report(len(checks), len(checks))
    return found


async def _looked(check: Check, patient: Patient) -> Sequence[Finding]:
    if _is_away(check.need, patient):
        return [absent(check.name, "the database cannot be reached")]
    try:
        async with asyncio.timeout(check.seconds):
            return await check.look(patient)
    except TimeoutError:
        return [failed(check.name, f"took longer than {check.seconds:g} s")]
    except _FORESEEN as error:
        return [failed(check.name, f"cannot be looked at: {reason_of(error)}")]
    except Exception as error:  # noqa: BLE001 - one check must not end the others
        log.error("check_failed", check=check.name, error=type(error).__name__)  # noqa: TRY400
        return [failed(check.name, "cannot be looked at: an unexpected error, see the log")]


def _is_away(need: Need, patient: Patient) -> bool:
    if need is Need.NOTHING:
        return False
    way = patient.app if need is Need.APP else patient.migrator or patient.app
    return way is None or way.database is None
