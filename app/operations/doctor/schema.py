"""The schema: whether it is the one that this release was written for."""

from collections.abc import Sequence

from app.database.migrations import Migrator
from app.operations.doctor.findings import Finding, failed, passed, warned
from app.operations.doctor.patient import Patient
from app.threads import in_thread


async def look_at_migrations(patient: Patient) -> Sequence[Finding]:
    """Compare the files with the ledger, as `database verify` does."""
    settings, targets = patient.settings, patient.targets
    if targets is None:
        raise RuntimeError("the database is not open")
    migrator = Migrator(
        target=targets.migrator, settings=settings.database, instance=settings.instance
    )
    ledger = await in_thread("migrations", migrator.status)
    if ledger.problems:
        return [failed("migrations", "; ".join(ledger.problems))]
    if ledger.pending:
        first = ledger.pending[0].name
        return [failed("migrations", f"{len(ledger.pending)} pending, the first is {first}")]
    if ledger.newer:
        return [warned("migrations", f"{', '.join(ledger.newer)}: of a newer release than this")]
    return [passed("migrations", f"all {len(ledger.files)} applied, as they are written")]
