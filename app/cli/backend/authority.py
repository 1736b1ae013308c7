"""What a command may do in a protected environment, and its record in the access log."""

from collections.abc import Iterable

from app.access.log import AccessLog
from app.access.permissions import OPERATOR_RIGHTS
from app.cli.actor import origin
from app.cli.protected_writes import is_emergency
from app.configuration.changes.administration import (
    Approved,
    record_administration,
    record_emergencies,
)
from app.configuration.changes.authority import Authority
from app.configuration.changes.views import AppliedChangeSets
from app.database import Connection


def authority(*, dry_run: bool = False) -> Authority:
    return Authority(rights=OPERATOR_RIGHTS, emergency=is_emergency(), is_dry_run=dry_run)


async def record_changes(
    connection: Connection, log: AccessLog, applied: AppliedChangeSets
) -> None:
    """Log what a command administered, and its emergencies. Raises Unavailable."""
    await record_administration(connection, log, applied, origin())
    await record_emergency(connection, log, applied.change_sets)


async def record_emergency(
    connection: Connection, log: AccessLog, written: Iterable[Approved]
) -> None:
    await record_emergencies(connection, log, written, origin())
