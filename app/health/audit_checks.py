"""What health says of proofs and of ways back: the chain, its signed heads, and the backups.

Only ever a warning: every other instance serves the same, so nothing is gained by taking one out.
"""

from datetime import UTC, datetime, timedelta

from app.access.models import Covers
from app.audit.head_export import EXPORT_SECONDS, HeadExport
from app.health.check import Check, Status
from app.operations.backups.schedule import Schedule

# Such as by a disk that does not answer.
_EXPORT_AGE_MAX = timedelta(seconds=5 * EXPORT_SECONDS)


def chain_check(heads: HeadExport, covers: Covers) -> Check:
    """Report which environments have another history than was signed, and from which revision on.

    Those that the token is not for are counted, not named.
    """
    found = [*heads.replaced.items(), *heads.broken.items()]
    broken = [f"{name}: {reason}" for name, reason in found if covers(name)]
    if hidden := len(found) - len(broken):
        broken.append(f"{hidden} in environments that this token is not for")
    return Check(
        status=Status.WARN if broken else Status.PASS,
        component_type="datastore",
        output="; ".join(broken) or None,
    )


def heads_check(heads: HeadExport) -> Check:
    """Tell when it was last made sure that all signed heads are in the file."""
    at = heads.exported_at
    is_late = at is not None and datetime.now(UTC) - at > _EXPORT_AGE_MAX
    return Check(
        status=Status.WARN if heads.failure or is_late else Status.PASS,
        time=at,
        output=heads.failure or ("the export hangs" if is_late else None),
    )


def backups_check(schedule: Schedule) -> Check:
    """Tell how old the last backup is, and whether the next one failed or is overdue."""
    last, age = schedule.last, schedule.age_seconds
    failed = "the last attempt failed, see the log" if schedule.failure else None
    late = "older than two intervals" if schedule.is_late else None
    ahead = "one is of a moment that is yet to come, see the clocks" if schedule.is_ahead else None
    return Check(
        status=Status.WARN if failed or late or ahead else Status.PASS,
        observed_value=last.bytes if last else None,
        observed_unit="bytes" if last else None,
        time=last.created_at if last else None,
        age_seconds=None if age is None else round(age),
        output=failed or late or ahead or (None if last else "none yet"),
    )
