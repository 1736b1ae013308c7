"""Health checks and metrics of the snapshots that a process serves."""

from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from app.components import (
    HealthCheck,
    HiddenCheck,
    ReportScope,
    Status,
    counter,
    counters,
    gauge,
    gauges,
)
from app.configuration.snapshots.residency import entries_in
from app.configuration.snapshots.snapshot import Snapshot
from app.environments.models import Environment


def snapshot_checks(
    environments: Mapping[str, Environment],
    stale_seconds: Mapping[str, float],
    absent: Mapping[str, str],
    failure: str | None,
    warnings: Mapping[str, str],
    scope: ReportScope,
) -> Mapping[str, HealthCheck]:
    """Return a check for each environment; `failure` is why the last refresh failed.

    Without a failure the database is away, and stale answers are better than none. With a failure
    it answers other instances, and this one must leave service. `absent` says why an environment
    is not in memory, which is no warning.
    """
    checks: dict[str, HealthCheck] = {}
    for name, head in environments.items():
        stale = stale_seconds[name]
        problem = failure if stale else None
        checks[f"snapshot:{name}"] = (HealthCheck if scope.covers(name) else HiddenCheck)(
            status=_status(problem, is_warned=bool(stale or warnings.get(name))),
            observed_value=head.revision,
            observed_unit="revision",
            age_seconds=round(stale, 1),
            output=problem or warnings.get(name) or absent.get(name),
        )
    return checks


def _status(failure: str | None, *, is_warned: bool) -> Status:
    if failure:
        return Status.FAIL
    return Status.WARN if is_warned else Status.PASS


def snapshot_metrics(
    environments: Mapping[str, Environment],
    snapshots: Mapping[str, Snapshot],
    stale_seconds: float,
) -> Iterable[Metric]:
    yield gauges(
        "flagstone_environment_revision",
        "Latest revision of the environment that this process knows.",
        "environment",
        {name: head.revision for name, head in environments.items()},
    )
    yield gauges(
        "flagstone_snapshot_in_memory",
        "Whether the snapshot of the environment is in memory.",
        "environment",
        {name: float(name in snapshots) for name in environments},
    )
    yield gauge(
        "flagstone_snapshot_entries",
        "Entries of all snapshots in memory.",
        entries_in(snapshots),
    )
    yield gauge(
        "flagstone_snapshot_stale_seconds",
        "Seconds since the database last confirmed the snapshots; 0 up to 5 seconds.",
        stale_seconds,
    )


def load_metrics(loads: Mapping[str, int], drops: int) -> Iterable[Metric]:
    results = dict.fromkeys(("origin", "disk", "failed"), 0)
    yield counters(
        "flagstone_snapshot_loads",
        "Loads of environments by result: from the database or upstream, from the disk, failed.",
        "result",
        {**results, **loads},
    )
    yield counter("flagstone_snapshot_drops", "Idle snapshots that were dropped.", drops)


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
