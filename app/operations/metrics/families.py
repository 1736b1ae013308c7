"""Metric families of several workers: sent from one to another, merged and printed."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

# The label of all samples of a single environment.
ENVIRONMENT = "environment"


class Family(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A family as one worker sends it to another; a sample is its name, labels and value."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


def families(metrics: Iterable[Metric]) -> list[Family]:
    return [
        Family(
            name=metric.name,
            help=metric.documentation,
            type=metric.type,
            samples=[
                (sample.name, sample.labels, float(sample.value)) for sample in metric.samples
            ],
        )
        for metric in metrics
    ]


class Merged:
    """The families of several workers as one registry, each sample with the label `worker`.

    Samples of environments that `covers` excludes are left out.
    """

    def __init__(
        self, by_worker: Mapping[int, Iterable[Family]], covers: Callable[[str], bool]
    ) -> None:
        self._metrics: dict[str, Metric] = {}
        for worker, families_ in sorted(by_worker.items()):
            for family in families_:
                self._add(family, str(worker), covers)

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics.values())

    def _add(self, family: Family, worker: str, covers: Callable[[str], bool]) -> None:
        metric = self._metrics.get(family.name)
        if metric is None:
            metric = Metric(family.name, family.help, family.type)
            self._metrics[family.name] = metric
        for name, labels, value in family.samples:
            if ENVIRONMENT not in labels or covers(labels[ENVIRONMENT]):
                metric.add_sample(name, {**labels, "worker": worker}, value)


def render(merged: Merged, accept: str) -> tuple[bytes, str]:
    """Return the text in the format that the client prefers, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # The version or the escaping cannot be parsed.
        encode, content_type = choose_encoder("")
    return encode(merged), content_type
