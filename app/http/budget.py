"""The memory budget that all request bodies of a process share."""

from collections.abc import Iterable

from prometheus_client import Metric

from app.components import Component, counter, gauge
from app.errors import Unavailable

_RETRY_SECONDS = 5


class BodyBudget(Component):
    """The bytes that all request bodies may use in memory together."""

    name = "body_budget"

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.refused = 0

    def take(self, size: int) -> None:
        """Count more bytes. Raises Unavailable when the budget is used up."""
        if self.bytes + size > self.bytes_max:
            self.refused += 1
            raise Unavailable(
                "bodies_too_large",
                "The service is receiving too many large bodies. Try again.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self.bytes += size

    def give_back(self, size: int) -> None:
        self.bytes -= size

    def metrics(self) -> Iterable[Metric]:
        yield gauge(
            "flagstone_http_body_bytes",
            "Bytes of all request bodies in memory.",
            self.bytes,
        )
        yield gauge(
            "flagstone_http_body_bytes_max",
            "The limit of bytes of all request bodies in memory.",
            self.bytes_max,
        )
        yield counter(
            "flagstone_http_bodies_refused",
            "Requests refused because request bodies had reached the limit.",
            self.refused,
        )
