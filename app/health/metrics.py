"""Metrics of the heartbeat."""

from collections.abc import Iterator

from app.health.heartbeat import Heartbeat
from app.operations.metrics.families import Family, gauge


def of_heartbeat(heartbeat: Heartbeat) -> Iterator[Family]:
    """Yield the misses in a row, and the time and the latency of the last heartbeat."""
    yield gauge(
        "flagstone_heartbeat_misses",
        "Heartbeats missed since the last good one.",
        {(): heartbeat.misses_in_a_row},
    )
    good = heartbeat.last_good
    if good is None or good.row is None:
        return
    yield gauge(
        "flagstone_heartbeat_last_success_timestamp_seconds",
        "When the last good heartbeat was.",
        {(): good.row.checked_at.timestamp()},
    )
    yield gauge(
        "flagstone_heartbeat_latency_seconds",
        "What the last good heartbeat's write took.",
        {(): good.row.latency_ms / 1000},
    )
