"""Health checks and metrics of the snapshots that a process serves."""

from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from app.components import HealthCheck, HiddenCheck, ReportScope, Status, counters, gauge, gauges
from app.configuration.snapshots.snapshot import Snapshot


def snapshot_checks(
    snapshots: Mapping[str, Snapshot],
    stale_seconds: float,
    failure: str | None,
    replacements: Mapping[str, str],
    scope: ReportScope,
) -> Mapping[str, HealthCheck]:
    """Return a check for each environment; `failure` is why the last refresh failed.

    Without a failure the database is away, and stale answers are better than none. With a failure
    it answers other instances, and this one must leave service.
    """
    failure = failure if stale_seconds else None
    return {
        f"snapshot:{name}": (HealthCheck if scope.covers(name) else HiddenCheck)(
            status=_status(failure, is_warned=bool(stale_seconds or replacements.get(name))),
            observed_value=snapshot.revision,
            observed_unit="revision",
            age_seconds=stale_seconds,
            output=failure or replacements.get(name),
        )
        for name, snapshot in snapshots.items()
    }


def _status(failure: str | None, *, is_warned: bool) -> Status:
    if failure:
        return Status.FAIL
    return Status.WARN if is_warned else Status.PASS


def snapshot_metrics(snapshots: Mapping[str, Snapshot], stale_seconds: float) -> Iterable[Metric]:
    yield gauges(
        "flagstone_environment_revision",
        "Revision of the snapshot in use.",
        "environment",
        {name: snapshot.revision for name, snapshot in snapshots.items()},
    )
    yield gauge(
        "flagstone_snapshot_stale_seconds",
        "Seconds since the database last confirmed the snapshots; 0 up to 5 seconds.",
        stale_seconds,
    )


def change_metrics(
    change_sets: Mapping[tuple[str, str], int],
    replacements: Mapping[str, int],
    lag_seconds: Mapping[str, float],
) -> Iterable[Metric]:
    """Yield the received change sets by environment and kind, and the delay of the last one."""
    yield counters(
        "flagstone_history_replacements",
        "New epochs read: a backup was restored, or a failover lost commits.",
        "environment",
        replacements,
    )
    yield gauges(
        "flagstone_follower_lag_seconds",
        "Seconds from the commit of the last change set to its use here, by two clocks.",
        "environment",
        lag_seconds,
    )
    yield counters(
        "flagstone_change_sets",
        "Change sets that this instance has applied.",
        "environment kind",
        change_sets,
    )
