"""What one process has to tell, gathered from memory in the moment that it is asked."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import ProcessCollector

from app import VERSION
from app.access.directory import TokenDirectory
from app.access.log import AccessLog
from app.audit.head_export import HeadExport
from app.configuration.snapshots.follower import Follower
from app.database import Database
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.operations.backups.schedule import Schedule
from app.operations.metrics.audit import of_audit, of_backups
from app.operations.metrics.families import Family, Labels, Sample, counter, gauge, histogram
from app.schema.drift import DriftCheck
from app.secrets.vault import Vault
from app.tasks import Tasks

_process = ProcessCollector(registry=None)


@dataclass(frozen=True, kw_only=True)
class Collector:
    """The families of this process."""

    instance: str
    durations: Durations
    bodies: BodyBudget
    streams: Counter[str]
    database: Database
    heartbeat: Callable[[], Iterator[Family]]
    follower: Follower
    tokens: TokenDirectory
    access_log: AccessLog
    heads: HeadExport
    vault: Vault
    drift: DriftCheck
    schedule: Schedule
    tasks: Tasks
    evaluations: Callable[[], Mapping[tuple[str, str], int]]

    def families(self) -> Iterator[Family]:
        labels = (("version", VERSION), ("instance", self.instance))
        yield gauge("flagstone_info", "Which release runs here, and its name.", {labels: 1})
        yield histogram(
            "flagstone_http_request_duration_seconds",
            "Seconds from a request's head to its answer, by route.",
            self.durations,
        )
        yield gauge(
            "flagstone_http_body_bytes",
            "Bytes of the request bodies that are received or worked on.",
            {(): self.bodies.bytes},
        )
        yield gauge(
            "flagstone_http_body_bytes_max",
            "Most bytes that these bodies may take.",
            {(): self.bodies.bytes_max},
        )
        yield counter(
            "flagstone_http_bodies_refused",
            "Requests refused because bodies took all of these bytes.",
            {(): self.bodies.refused},
        )
        yield gauge(
            "flagstone_streams",
            "Event streams that are open.",
            _by("environment", self.streams),
        )
        yield counter(
            "flagstone_evaluations",
            "Evaluations of flags that there are, by OFREP's reason or error code.",
            _by_environment("reason", self.evaluations()),
        )
        yield from self._of_database()
        yield from self.heartbeat()
        yield from self._of_snapshots()
        yield from self._of_tokens()
        yield from self._of_access_log()
        yield from self._of_keys()
        yield from of_audit(self.heads, self.drift)
        yield from of_backups(self.schedule)
        yield gauge(
            "flagstone_task_up",
            "1 while a background task is well, 0 once it has failed.",
            _by("task", self.tasks.alive),
        )
        yield from _of_process()

    def _of_database(self) -> Iterator[Family]:
        use = self.database.use
        yield gauge(
            "flagstone_database_pool_connections",
            "Connections of the pool.",
            _by("state", {"idle": use.idle, "used": use.size - use.idle}),
        )
        yield gauge(
            "flagstone_database_pool_connections_max",
            "Most connections that the pool may have.",
            {(): use.limit},
        )
        yield gauge(
            "flagstone_database_pool_waiting",
            "Callers that wait for a connection.",
            {(): use.waiting},
        )

    def _of_snapshots(self) -> Iterator[Family]:
        if not self.follower.is_loaded:
            return
        revisions = {name: each.revision for name, each in self.follower.loaded().items()}
        yield gauge(
            "flagstone_environment_revision",
            "The revision that is served.",
            _by("environment", revisions),
        )
        yield gauge(
            "flagstone_snapshot_stale_seconds",
            "Seconds since the database last confirmed what is served; 0 while it does.",
            {(): self.follower.stale_seconds},
        )
        yield gauge(
            "flagstone_follower_lag_seconds",
            "Seconds from the last change set's making to its being served, by two clocks.",
            _by("environment", self.follower.lag_seconds),
        )
        yield counter(
            "flagstone_change_sets",
            "Change sets that came in, whoever made them.",
            _by_environment("kind", self.follower.change_sets),
        )

    def _of_tokens(self) -> Iterator[Family]:
        soonest = self.tokens.soonest_expiry
        if soonest is not None:
            yield gauge(
                "flagstone_token_soonest_expiry_timestamp_seconds",
                "When the next token expires that holds and that no other has replaced.",
                {(): soonest.timestamp()},
            )

    def _of_access_log(self) -> Iterator[Family]:
        log = self.access_log
        yield counter(
            "flagstone_access_log_accesses",
            "Accesses for the access log: recorded with what they tell, or noted for later.",
            _by("way", {"recorded": log.recorded, "noted": log.noted}),
        )
        yield counter(
            "flagstone_access_log_blurred",
            "Accesses that were counted without their particulars, since too many differed.",
            {(): log.blurred},
        )
        yield counter(
            "flagstone_access_log_write_failures",
            "Writes that the access log's table did not take.",
            {(): log.failures},
        )
        yield counter(
            "flagstone_access_log_lines_dropped",
            "Lines for standard output that nobody read in time.",
            {(): log.lines_dropped},
        )

    def _of_keys(self) -> Iterator[Family]:
        yield gauge(
            "flagstone_data_keys",
            "Data keys that open something, by the key-encryption key that wrapped them.",
            _by("kek_id", self.vault.counts),
        )
        yield gauge(
            "flagstone_data_key_created_timestamp_seconds",
            "When the data key was made that seals an environment's secrets now.",
            _by("environment", {k: at.timestamp() for k, at in self.vault.active_since.items()}),
        )
        yield gauge(
            "flagstone_keys_missing",
            "Key-encryption keys that data keys need and that cannot be had.",
            {(): len(self.vault.missing)},
        )


def _by(label: str, values: Mapping[str, float]) -> Mapping[Labels, float]:
    return {((label, name),): value for name, value in values.items()}


def _by_environment(label: str, values: Mapping[tuple[str, str], float]) -> Mapping[Labels, float]:
    return {
        (("environment", environment), (label, name)): value
        for (environment, name), value in values.items()
    }


def _of_process() -> Iterator[Family]:
    """Yield memory, processor time and open files, under the names that all libraries use."""
    for metric in _process.collect():
        yield Family(
            name=metric.name,
            kind=metric.type,
            help=metric.documentation,
            samples=[
                Sample(
                    labels=sample.labels,
                    value=sample.value,
                    suffix=sample.name.removeprefix(metric.name),
                )
                for sample in metric.samples
            ],
        )
