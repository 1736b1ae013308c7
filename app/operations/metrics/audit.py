"""What the audit and the backups have to tell."""

from collections.abc import Iterator

from app.audit.head_export import HeadExport
from app.database.catalog.recording import RecordingStatus
from app.operations.backups.schedule import Schedule
from app.operations.metrics.families import Family, counter, gauge
from app.schema.drift import DriftCheck


def of_audit(heads: HeadExport, drift: DriftCheck) -> Iterator[Family]:
    """Yield what is known of the history and of the schema."""
    yield gauge(
        "flagstone_audit_broken_chains",
        "Environments whose history is not the one that was signed.",
        {(): len(heads.broken.keys() | heads.replaced.keys())},
    )
    if heads.exported_at is not None:
        yield gauge(
            "flagstone_audit_heads_exported_timestamp_seconds",
            "When it was last made sure that all signed heads are in the file.",
            {(): heads.exported_at.timestamp()},
        )
    trail = drift.trail
    # Nothing is better than a number that was true once.
    if trail is None or drift.failure:
        return
    if trail.drift is not None:
        yield gauge(
            "flagstone_schema_drift_facts",
            "Facts of the schema that are not what the last migration left behind.",
            {(): len(trail.drift)},
        )
    yield gauge(
        "flagstone_schema_audit_recording",
        "1 while the server records changes of the schema, 0 where it cannot or does not.",
        {(): trail.recording is RecordingStatus.RECORDING},
    )


def of_backups(schedule: Schedule) -> Iterator[Family]:
    """Yield how the last backup went; nothing where no schedule is set."""
    if not schedule.is_on:
        return
    yield counter(
        "flagstone_backup_failures",
        "Backups of the schedule that failed.",
        {(): schedule.failures},
    )
    if schedule.last is not None:
        yield gauge(
            "flagstone_backup_last_success_timestamp_seconds",
            "The moment that the last good backup is of.",
            {(): schedule.last.created_at.timestamp()},
        )
        yield gauge(
            "flagstone_backup_last_bytes",
            "Size of the last good backup.",
            {(): schedule.last.bytes},
        )
        yield gauge(
            "flagstone_backup_last_duration_seconds",
            "What making the last good backup took.",
            {(): schedule.last.seconds},
        )
