"""The metric families of one process, read from memory at each scrape."""

from collections.abc import Iterator, Sequence

from prometheus_client import Metric, ProcessCollector

from app import VERSION
from app.components import Component, gauges
from app.tasks import Tasks

_process = ProcessCollector(registry=None)


class Collector:
    """Yields the families of the components, of the tasks, and of the process."""

    def __init__(self, components: Sequence[Component], tasks: Tasks, instance: str) -> None:
        self._components = components
        self._tasks = tasks
        self._instance = instance

    def collect(self) -> Iterator[Metric]:
        yield gauges(
            "flagstone_info",
            "The release and the name of this instance. The value is always 1.",
            "version instance",
            {(VERSION, self._instance): 1},
        )
        for component in self._components:
            yield from component.metrics()
        yield gauges(
            "flagstone_task_up",
            "1 while a background task runs without failures, 0 after a failure until it recovers.",
            "task",
            self._tasks.alive,
        )
        yield from _process.collect()
