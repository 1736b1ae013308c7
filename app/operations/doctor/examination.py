"""The list of checks, and the function that runs them: each has a time limit and ends no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class DoctorCheck:
    """A check of one promise. It may return several findings."""

    group: str
    name: str
    run: Callable[[Installation], Awaitable[Sequence[Finding]]]
    needs_database: bool = True
    seconds: float = CHECK_SECONDS


CHECKS = (
    DoctorCheck("settings", "settings", host_checks.check_settings, needs_database=False),
    DoctorCheck("settings", "passwords", host_checks.check_passwords, needs_database=False),
    DoctorCheck("database", "connection", server_checks.check_connections, needs_database=False),
    DoctorCheck("database", "TLS", server_checks.check_tls),
    DoctorCheck("database", "connections", server_checks.check_connection_limit),
    DoctorCheck("database", "clock", server_checks.check_clock),
    DoctorCheck("database", "durability", server_checks.check_durability),
    DoctorCheck("roles", "app role", role_checks.check_app_role),
    DoctorCheck("roles", "roles", role_checks.check_roles),
    DoctorCheck("roles", "public rights", role_checks.check_public_rights),
    DoctorCheck("roles", "verifiers", role_checks.check_password_hashes),
    DoctorCheck("schema", "migrations", database_checks.check_migrations),
    DoctorCheck("proof", "schema", database_checks.check_schema),
    DoctorCheck("proof", "history", database_checks.check_history, seconds=HISTORY_SECONDS),
    DoctorCheck("entries", "keys of entries", database_checks.check_entry_keys),
    DoctorCheck("access", "sign-in provider", host_checks.check_provider, needs_database=False),
    DoctorCheck("keys", "key ring", host_checks.check_key_ring, needs_database=False),
    DoctorCheck("keys", "data keys", database_checks.check_data_keys),
    DoctorCheck("keys", "token key", host_checks.check_token_key, needs_database=False),
    DoctorCheck("backups", "backups", host_checks.check_backups, needs_database=False),
    DoctorCheck("machine", "disk", host_checks.check_disk, needs_database=False),
    DoctorCheck("next tier", "settings", host_checks.check_next_tier, needs_database=False),
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
    if check.needs_database and not installation.is_connected:
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
