"""The running part of flagd's sync service: listens while this instance can serve."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from prometheus_client import Metric

from app.components import (
    Component,
    HealthCheck,
    ReportScope,
    Status,
    counters,
    gauges,
)
from app.configuration.snapshots.source import SnapshotSource
from app.errors import ForeseenError
from app.flags.flagd_sync.access import CallAccess
from app.flags.flagd_sync.feed import SyncFeeds
from app.http.lifecycle import Lifecycle
from app.log import logger
from app.settings import GrpcAccess, GrpcSettings
from app.threads import in_thread

if TYPE_CHECKING:
    from app.flags.flagd_sync.server import SyncServer

log = logger(__name__)

_WORDS = {
    GrpcAccess.LOCAL: "programs on this machine may read the flags of every environment",
    GrpcAccess.TOKEN: "calls without a token use GRPC_TOKEN",
    GrpcAccess.CERTIFICATE: "the client's certificate selects a token of GRPC_CLIENTS",
    GrpcAccess.BEARER: "each call needs a token in its metadata",
}


class GrpcMissingError(ForeseenError):
    """The optional package grpcio is not installed."""


class ListenRefusedError(ForeseenError):
    """An address of GRPC_HOST, GRPC_PORT or GRPC_SOCKET cannot be used."""


class FlagdSync(Component):
    """Serves flagd's sync service on GRPC_PORT. `check_port` raises if another service has it.

    `shares_port`: several workers listen on it. Raises GrpcMissingError.
    """

    name = "flagd_sync"

    def __init__(
        self,
        settings: GrpcSettings,
        source: SnapshotSource,
        lifecycle: Lifecycle,
        access: CallAccess,
        *,
        check_port: Callable[[], None],
        shares_port: bool,
        serves_socket: bool,
    ) -> None:
        if find_spec("grpc") is None:
            raise GrpcMissingError(
                "GRPC_PORT and GRPC_SOCKET need the package grpcio: run `pip install grpcio`, or "
                "unset them"
            )
        self._settings = settings
        self._source = source
        self._lifecycle = lifecycle
        self._access = access
        self._check_port = check_port
        self._shares_port = shares_port
        self._serves_socket = serves_socket
        self._feeds = SyncFeeds(source, settings.streams_max)
        self._server: SyncServer | None = None

    async def run(self) -> None:
        await self._lifecycle.serving.wait()
        try:
            if not self._shares_port:
                await in_thread("check port", self._check_port)
            await self._serve()
        except ForeseenError as error:
            self._lifecycle.fail(error)

    async def _serve(self) -> None:
        # Its threads would not survive the fork of a worker, and few services need it.
        from app.flags.flagd_sync.server import SyncServer  # noqa: PLC0415

        # `stop` has closed those of an earlier run.
        self._feeds = SyncFeeds(self._source, self._settings.streams_max)
        try:
            server = SyncServer(
                self._settings,
                self._source,
                self._access,
                self._feeds,
                shares_port=self._shares_port,
                serves_socket=self._serves_socket,
            )
            addresses = await server.start()
        except (OSError, RuntimeError, ValueError):
            raise ListenRefusedError(
                "GRPC_HOST, GRPC_PORT and GRPC_SOCKET must be addresses that can be listened on,"
                " and GRPC_TLS_KEY and GRPC_TLS_CERTIFICATE PEM files that belong together"
            ) from None
        self._server = server
        try:
            log.info(
                "flagd_sync_listening",
                addresses=addresses,
                access=_WORDS[self._settings.access],
                tls=self._settings.tls_certificate is not None,
            )
            if problem := self._access.problem():
                log.error("flagd_sync_token_refused", problem=problem)
            await asyncio.Event().wait()
        finally:
            self._server = None
            await server.stop()

    def checks(self, _: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: the main port serves without it."""
        problem = self._access.problem() if self._server is not None else "not listening"
        return {
            "flagd_sync:streams": HealthCheck(
                status=Status.WARN if problem else Status.PASS,
                observed_value=self._feeds.count,
                observed_unit="streams",
                limit=self._settings.streams_max,
                output=problem,
            )
        }

    def metrics(self) -> Iterable[Metric]:
        feeds = self._feeds.open
        yield gauges(
            "flagstone_flagd_sync_streams",
            "Open gRPC streams of flagd's sync service.",
            "environment",
            Counter(feed.environment for feed in feeds for _ in feed.streams),
        )
        yield gauges(
            "flagstone_flagd_sync_fan_out_seconds",
            "Seconds from the last change of flags until its latest delivery to a stream.",
            "environment",
            _largest((feed.environment, feed.fan_out_seconds) for feed in feeds),
        )
        yield gauges(
            "flagstone_flagd_sync_message_bytes",
            "Size of the largest current message. Clients refuse more than 4 MiB by default.",
            "environment",
            _largest((feed.environment, len(feed.message)) for feed in feeds),
        )
        if self._server is not None:
            yield counters(
                "flagstone_flagd_sync_ended",
                "Calls that ended with an error, and those of them whose client was too slow.",
                "reason",
                {"error": self._server.refused, "slow": self._server.slow},
            )


def _largest(figures: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the largest figure of each environment."""
    largest: dict[str, float] = {}
    for environment, figure in figures:
        largest[environment] = max(figure, largest.get(environment, 0.0))
    return largest
