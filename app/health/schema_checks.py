"""What health says of the schema's trail: what differs, and whether changes are recorded.

Only ever a warning. An index that was made by hand must not take every replica out of service.
"""

from app.database.catalog.recording import RecordingStatus
from app.health.check import Check, Status
from app.schema.drift import DriftCheck, SchemaTrail


def drift_check(drift: DriftCheck) -> Check:
    """Tell how many facts differ from what the last migration left behind, and the first few."""
    trail, unknown = _seen(drift)
    if trail is None or trail.drift is None:
        output = unknown if trail is None else trail.unknown
        return Check(status=Status.WARN, component_type="datastore", output=output)
    return Check(
        status=Status.WARN if trail.drift else Status.PASS,
        component_type="datastore",
        observed_value=len(trail.drift),
        observed_unit="facts",
        time=drift.looked_at,
        output=trail.drift_summary,
    )


def audit_check(drift: DriftCheck) -> Check:
    """Tell whether the server records changes; one that cannot is no reason to warn for ever."""
    trail, unknown = _seen(drift)
    if trail is None:
        return Check(status=Status.WARN, component_type="datastore", output=unknown)
    if trail.recording is RecordingStatus.UNAVAILABLE:
        output = f"not available here, because {trail.reason}"
        return Check(status=Status.PASS, component_type="datastore", output=output)
    is_broken = trail.recording is RecordingStatus.BROKEN
    return Check(
        status=Status.WARN if is_broken else Status.PASS,
        component_type="datastore",
        time=drift.looked_at,
        output=trail.reason,
    )


def _seen(drift: DriftCheck) -> tuple[SchemaTrail | None, str | None]:
    """Return what holds now, or why nothing is known of it."""
    if drift.failure or drift.trail is None:
        return None, drift.failure or "not known yet"
    return drift.trail, None
