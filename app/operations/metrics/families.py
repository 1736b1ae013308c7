"""Families of samples: gathered by one worker, sent to another, merged and printed."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import msgspec
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from app.access.models import Covers
from app.http.durations import BOUNDS_SECONDS, Durations

# The label of every sample that is about one environment.
ENVIRONMENT = "environment"

Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """`suffix` is what a histogram's or counter's samples have after the family's name."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: str
    help: str
    samples: list[Sample]


def gauge(name: str, help_: str, samples: Mapping[Labels, float]) -> Family:
    """Return a gauge, its values by their labels."""
    found = [Sample(labels=dict(labels), value=float(value)) for labels, value in samples.items()]
    return Family(name=name, kind="gauge", help=help_, samples=found)


def counter(name: str, help_: str, samples: Mapping[Labels, float]) -> Family:
    """Return a counter, whose samples end in `_total`, its values by their labels."""
    found = [
        Sample(labels=dict(labels), value=value, suffix="_total")
        for labels, value in samples.items()
    ]
    return Family(name=name, kind="counter", help=help_, samples=found)


def histogram(name: str, help_: str, durations: Durations) -> Family:
    """Return the durations of requests as a histogram, whose buckets count all that is below."""
    samples: list[Sample] = []
    bounds = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "+Inf")
    for where, series in durations:
        labels = {"method": where.method, "route": where.route, "status": str(where.status)}
        counts = list(accumulate(series.counts))
        samples += [
            Sample(labels=labels | {"le": bound}, value=count, suffix="_bucket")
            for bound, count in zip(bounds, counts, strict=True)
        ]
        samples.append(Sample(labels=labels, value=counts[-1], suffix="_count"))
        samples.append(Sample(labels=labels, value=series.total_seconds, suffix="_sum"))
    return Family(name=name, kind="histogram", help=help_, samples=samples)


def visible(family: Family, covers: Covers) -> Family:
    """Return the family without the samples of environments that are not covered."""
    return msgspec.structs.replace(
        family,
        samples=[
            sample
            for sample in family.samples
            if ENVIRONMENT not in sample.labels or covers(sample.labels[ENVIRONMENT])
        ],
    )


class Merged:
    """The families of several workers as one registry; each sample says whose it is."""

    def __init__(self, by_worker: Mapping[int, Iterable[Family]]) -> None:
        self._metrics: dict[str, Metric] = {}
        for worker, families in sorted(by_worker.items()):
            for family in families:
                self._add(family, str(worker))

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics.values())

    def _add(self, family: Family, worker: str) -> None:
        metric = self._metrics.get(family.name)
        if metric is None:
            metric = Metric(family.name, family.help, family.kind)
            self._metrics[family.name] = metric
        for sample in family.samples:
            labels = {**sample.labels, "worker": worker}
            metric.add_sample(family.name + sample.suffix, labels, sample.value)


def printed(merged: Merged, accept: str) -> tuple[bytes, str]:
    """Return the text in the format that the client prefers, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # A version or an escaping that is none.
        encode, content_type = choose_encoder("")
    return encode(merged), content_type
