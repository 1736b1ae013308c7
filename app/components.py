"""A component: one running part of the service, with its health checks and its metrics.

`server/components.py` lists all components in the order of the start. The lifespan, `/health` and
`/metrics` loop over that list. `docs/extending.md` shows how to add one.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


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


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One check of the report, as draft-inadarei-api-health-check-06 defines it.

    `output` never holds a statement, a value or the text of an exception. `database:primary` names
    the hosts that it refuses; no other check names a host.
    """

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


class HiddenCheck(HealthCheck, frozen=True, kw_only=True):
    """A check that affects the status of the report but is not listed in it."""


@dataclass(frozen=True, kw_only=True)
class ReportScope:
    """The reader of the report. `covers` returns whether the token may see an environment.

    `can_serve` says whether requests can be answered from memory.
    """

    covers: Callable[[str], bool] = lambda _: True
    can_serve: bool = False

    @property
    def outage(self) -> Status:
        """Return the status of a check that fails while the database is away.

        An instance that can serve from memory must stay in service.
        """
        return Status.WARN if self.can_serve else Status.FAIL


class Component:
    """A running part of the service. A subclass sets `name` and overrides what it needs.

    The service calls `start` and then starts `run` as a background task. `name` is the name of the
    task in the log, in `/health` and in `/metrics`.
    """

    name: str
    run: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def start(self) -> None:
        """Do what must succeed before the next component starts.

        It is retried while the database is away. Any other error ends the process.
        """

    async def close(self) -> None:
        """Release what `start` acquired. All background tasks have ended by then."""

    def checks(self, _scope: ReportScope, /) -> Mapping[str, HealthCheck]:
        """Return the checks by their names in `/health`, from memory alone."""
        return {}

    def metrics(self) -> Iterable[Metric]:
        """Return the metric families in `/metrics`, from memory alone."""
        return ()


class FunctionComponent(Component):
    """A component made of functions, without checks or metrics."""

    def __init__(
        self,
        name: str,
        *,
        start: Callable[[], Coroutine[Any, Any, object]] | None = None,
        run: Callable[[], Coroutine[Any, Any, None]] | None = None,
        close: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.name = name
        self.run = run
        self._start = start
        self._close = close

    async def start(self) -> None:
        if self._start is not None:
            await self._start()

    async def close(self) -> None:
        if self._close is not None:
            await self._close()


def gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=value)


def gauges(name: str, help_: str, labels: str, values: Mapping[Any, float]) -> Metric:
    """Return a gauge with one sample per key. A key holds the values of the labels."""
    return _with_samples(GaugeMetricFamily(name, help_, labels=labels.split()), values)


def counter(name: str, help_: str, value: float) -> Metric:
    """Return a counter with one sample. Its name in the output ends in `_total`."""
    return CounterMetricFamily(name, help_, value=value)


def counters(name: str, help_: str, labels: str, values: Mapping[Any, float]) -> Metric:
    """Return a counter with one sample per key. A key holds the values of the labels."""
    return _with_samples(CounterMetricFamily(name, help_, labels=labels.split()), values)


def _with_samples(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Any, float]
) -> Metric:
    for key, value in values.items():
        family.add_metric(key if isinstance(key, tuple) else (key,), value)
    return family
