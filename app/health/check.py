"""One check of the report, with the row of `health_check` that proves it."""

from datetime import datetime
from enum import StrEnum

import msgspec


class Status(StrEnum):
    PASS = "pass"  # noqa: S105 - the word of the draft
    WARN = "warn"
    FAIL = "fail"


class HealthCheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """The last row that this instance wrote to `health_check`, under the names of its columns."""

    id: int
    status: str
    checked_at: datetime
    latency_ms: float
    instance: str


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One check. No exception text, host or statement is ever in it."""

    status: Status
    component_type: str = "component"
    observed_value: float | str | None = None
    observed_unit: str | None = None
    time: datetime | None = None
    age_seconds: float | None = None
    consecutive_failures: int | None = None
    row: HealthCheckRow | None = None
    size: int | None = None
    idle: int | None = None
    limit: int | None = None
    waiting: int | None = None
    expected: str | None = None
    applied: str | None = None
    output: str | None = None
