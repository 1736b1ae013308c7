"""The list of checks, and the function that runs them: each has a time limit and ends no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from app.database.client.reasons import is_foreseen, reason_of
from app.log import logger
from app.operations.doctor import database_checks, host_checks, role_checks, server_checks
from app.operations.doctor.findings import Finding, absent, failed
from app.operations.doctor.installation import Installation, opened
from app.settings import Settings

log = logger(__name__)

CHECK_SECONDS = 15.0
# About six million revisions, at the speed that `make bench` measures.
HISTORY_SECONDS = 300.0

Report = Callable[[int, int], None]


class Need(Enum):
    """The database connection that a check needs."""

    NOTHING = auto()
    APP = auto()
    MIGRATOR = auto()


@dataclass(frozen=True)
class DoctorCheck:
    """A check of one promise. It may return several findings."""

    group: str
    name: str
    need: Need
    run: Callable[[Installation], Awaitable[Sequence[Finding]]]
    seconds: float = CHECK_SECONDS


CHECKS = (
    DoctorCheck("settings", "settings", Need.NOTHING, host_checks.check_settings),
    DoctorCheck("settings", "passwords", Need.NOTHING, host_checks.check_passwords),
    DoctorCheck("database", "connection", Need.NOTHING, server_checks.check_connections),
    DoctorCheck("database", "TLS", Need.APP, server_checks.check_tls),
    DoctorCheck("database", "connections", Need.APP, server_checks.check_connection_limit),
    DoctorCheck("database", "clock", Need.APP, server_checks.check_clock),
    DoctorCheck("database", "durability", Need.APP, server_checks.check_durability),
    DoctorCheck("roles", "app role", Need.APP, role_checks.check_app_role),
    DoctorCheck("roles", "roles", Need.APP, role_checks.check_roles),
    DoctorCheck("roles", "public rights", Need.APP, role_checks.check_public_rights),
    DoctorCheck("roles", "verifiers", Need.APP, role_checks.check_password_hashes),
    DoctorCheck("schema", "migrations", Need.MIGRATOR, database_checks.check_migrations),
    DoctorCheck("proof", "schema", Need.APP, database_checks.check_schema),
    DoctorCheck("proof", "history", Need.APP, database_checks.check_history, HISTORY_SECONDS),
    DoctorCheck("entries", "keys of entries", Need.APP, database_checks.check_entry_keys),
    DoctorCheck("keys", "key ring", Need.NOTHING, host_checks.check_key_ring),
    DoctorCheck("keys", "data keys", Need.APP, database_checks.check_data_keys),
    DoctorCheck("keys", "token key", Need.NOTHING, host_checks.check_token_key),
    DoctorCheck("backups", "backups", Need.NOTHING, host_checks.check_backups),
    DoctorCheck("machine", "disk", Need.NOTHING, host_checks.check_disk),
    DoctorCheck("next tier", "settings", Need.NOTHING, host_checks.check_next_tier),
)


async def examine(
    settings: Settings,
    report: Report = lambda _done, _total: None,
    checks: Sequence[DoctorCheck] = CHECKS,
) -> list[Finding]:
    """Return the findings of every check, in order. An error of a check is a finding."""
    findings: list[Finding] = []
    async with opened(settings) as installation:
        for done, check in enumerate(checks):
            report(done, len(checks))
            findings += [
                msgspec.structs.replace(finding, group=check.group)
                for finding in await _findings(check, installation)
            ]
        report(len(checks), len(checks))
    return findings


async def _findings(check: DoctorCheck, installation: Installation) -> Sequence[Finding]:
    if not _can_run(check.need, installation):
        return [absent(check.name, "the database cannot be reached")]
    try:
        async with asyncio.timeout(check.seconds):
            return await check.run(installation)
    except TimeoutError:
        return [failed(check.name, f"took longer than {check.seconds:g} s")]
    except Exception as error:  # noqa: BLE001 - one check must not end the others
        if is_foreseen(error):
            return [failed(check.name, f"cannot be checked: {reason_of(error)}")]
        log.error("check_failed", check=check.name, error=type(error).__name__)  # noqa: TRY400
        return [failed(check.name, "cannot be checked: an unexpected error, see the log")]


def _can_run(need: Need, installation: Installation) -> bool:
    if need is Need.NOTHING:
        return True
    is_app = need is Need.APP or installation.migrator is None
    connected = installation.app if is_app else installation.migrator
    return connected is not None and connected.database is not None
