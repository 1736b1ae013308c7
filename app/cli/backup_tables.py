"""How the command line shows backups."""

from collections.abc import Sequence
from datetime import datetime

from rich.filesize import decimal
from rich.table import Column, Table

from app.operations.backups.store import Backup

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def backup_table(backups: Sequence[Backup], now: datetime) -> Table:
    """Return a row for each backup; why one is no good takes more room than there is in it."""
    table = Table(
        Column("name", no_wrap=True),
        Column("age", justify="right"),
        Column("size", justify="right"),
        Column("revisions", justify="right"),
        "signature",
        "verified",
    )
    for backup in backups:
        manifest, proof = backup.manifest, backup.verification
        table.add_row(
            backup.name,
            _age(now, manifest.created_at) if manifest else "",
            decimal(manifest.bytes) if manifest else "",
            str(manifest.revisions) if manifest else "",
            "ours" if backup.problem is None else "no good",
            f"{proof.at:%Y-%m-%d %H:%M} in {proof.restore_seconds:.0f} s" if proof else "",
        )
    return table


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
