"""The health report as plain data for the templates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from app.access.guard import readable_keys
from app.components import HealthCheck, Status
from app.configuration.snapshots.reading import FOLLOWER
from app.console.health.rates import RATES
from app.console.rendering import Frame
from app.operations.metrics.families import Family
from app.operations.metrics.handlers import PEERS

_TASK = "tasks:"
SPARK_WIDTH, SPARK_HEIGHT = 120, 24
_RANK = {Status.FAIL: 0, Status.WARN: 1, Status.PASS: 2}
# Units whose value is a number in a sequence, not a count.
_NUMBERED = {"revision", "timeline"}
# What a check promises. A check without a text is shown with its name alone.
_TEXTS = {
    "lifecycle": "The start has finished, and no stop has begun",
    "access_log:write": "Accesses are written to the table",
    "database:primary": "Connections lead to the primary, never to a former one",
    "database:pooler": "Prepared statements work behind the pooler",
    "pool:utilization": "Connections are free",
    "migrations:pending": "The database has the migrations of this release",
    "database:write": "The heartbeat is written",
    "schema:drift": "The schema is as the migrations left it",
    "schema:audit": "Changes of the schema are recorded",
    "keys": "Every data key can be opened",
    "tokens": "Tokens are confirmed by the database",
    "disk:snapshots": "The last known state is on disk",
    "audit:chain": "The history is unchanged",
    "audit:heads": "Signed heads of the history are exported",
    "backups": "The last scheduled backup succeeded",
    "backups:drill": "The last backup drill succeeded",
}


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    name: str
    text: str
    check: HealthCheck

    @property
    def observed(self) -> str:
        """The observed value with its unit, such as "0.9 ms"."""
        value, unit = self.check.observed_value, self.check.observed_unit or ""
        if value is None:
            return ""
        if unit == "ratio" and isinstance(value, float | int):
            return f"{100 * value:.0f} %"
        number = f"{value:,.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        if unit in _NUMBERED:
            return f"{unit} {number}"
        return f"{number} {unit.removesuffix('s') if number == '1' else unit}".strip()


@dataclass(frozen=True, kw_only=True)
class EnvironmentRow:
    """What this instance serves of an environment. `revisions` has one item per worker."""

    name: str
    revision: int
    revisions: Mapping[str, int]
    streams: int
    rate: float
    points: str

    @property
    def is_equal(self) -> bool:
        return len(set(self.revisions.values())) <= 1


def check_rows(checks: Mapping[str, Sequence[HealthCheck]]) -> list[CheckRow]:
    """Return every check but those of tasks that run. The failed ones come first."""
    rows = [
        CheckRow(name=name, text=_text(name), check=check)
        for name, several in checks.items()
        for check in several
        if not _is_running_task(name, check)
    ]
    return sorted(rows, key=lambda row: _RANK[row.check.status])


def running_tasks(checks: Mapping[str, Sequence[HealthCheck]]) -> list[str]:
    """Return the names of the background tasks that run."""
    return sorted(
        name.removeprefix(_TASK)
        for name, several in checks.items()
        for check in several
        if _is_running_task(name, check)
    )


async def environment_rows(request: web.Request, around: Frame) -> list[EnvironmentRow]:
    """Return the environments of the caller, with the figures of all workers of this instance."""
    by_worker = await request.app[PEERS].gather()
    rates, follower = request.app[RATES], request.app[FOLLOWER]
    rows = []
    for environment in around.environments:
        name = environment.name
        if not readable_keys(request, name).is_all:
            continue
        recent = rates.of(name)
        revisions = {
            str(worker): int(value)
            for worker, families in sorted(by_worker.items())
            for value in _samples(families, "flagstone_environment_revision", name)
        }
        streams = sum(
            value
            for families in by_worker.values()
            for value in _samples(families, "flagstone_streams", name)
        )
        rows.append(
            EnvironmentRow(
                name=name,
                revision=follower.require(name).revision,
                revisions=revisions,
                streams=int(streams),
                rate=recent[-1] if recent else 0.0,
                points=spark_points(recent),
            )
        )
    return rows


def spark_points(values: Sequence[float]) -> str:
    """Return the points of a line, the latest on the right."""
    if len(values) < 2:
        return ""
    highest = max(values) or 1.0
    step = SPARK_WIDTH / (len(values) - 1)
    return " ".join(
        f"{number * step:.1f},{SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * value / highest:.1f}"
        for number, value in enumerate(values)
    )


def _samples(families: Iterable[Family], name: str, environment: str) -> list[float]:
    return [
        value
        for family in families
        if family.name == name
        for _, labels, value in family.samples
        if labels.get("environment") == environment
    ]


def _is_running_task(name: str, check: HealthCheck) -> bool:
    return name.startswith(_TASK) and check.status is Status.PASS


def _text(name: str) -> str:
    kind, _, part = name.partition(":")
    if kind == "snapshot":
        return f"The entries of {part} are up to date"
    if kind == "tasks":
        return f"The background task {part} runs"
    return _TEXTS.get(name, "")
