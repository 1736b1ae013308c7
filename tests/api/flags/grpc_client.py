"""A client of flagd's sync service by gRPC, and the service on a port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from grpc import aio
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.rate_limit import RATE_LIMIT
from app.components import HealthCheck, ReportScope
from app.configuration.snapshots.reading import FOLLOWER
from app.flags.flagd_sync.access import CallAccess
from app.flags.flagd_sync.component import FlagdSync
from app.http.keys import LIFECYCLE, SETTINGS
from app.settings import GrpcSettings
from tests.conftest import Service
from tests.ports import free_port
from tests.waiting import HANG_SECONDS, until

LOCAL = "flagSetId=local"


@asynccontextmanager
async def serving(
    service: Service, **settings: Any
) -> AsyncIterator[tuple[GrpcSettings, FlagdSync]]:
    """Run the component beside the service under test, with these settings."""
    grpc = replace(service.app[SETTINGS].grpc, **{"port": free_port(), **settings})
    app = service.app
    access = CallAccess(grpc, app[TOKENS], app[ACCESS_LOG], app[RATE_LIMIT])
    component = FlagdSync(
        grpc,
        app[FOLLOWER],
        app[LIFECYCLE],
        access,
        check_port=lambda: None,
        shares_port=False,
        serves_socket=True,
    )
    running = asyncio.create_task(component.run())
    try:

        async def is_settled() -> bool:
            return running.done() or report(component).output != "not listening"

        await until(is_settled)
        yield grpc, component
    finally:
        running.cancel()
        await asyncio.wait([running])


def report(component: FlagdSync) -> HealthCheck:
    (check,) = component.checks(ReportScope()).values()
    return check


class Client:
    """The official stub, with the metadata of each call."""

    def __init__(self, channel: aio.Channel, **metadata: str) -> None:
        self._stub = sync_pb2_grpc.FlagSyncServiceStub(channel)
        self._metadata = tuple(metadata.items())

    def stream(self, selector: str = LOCAL) -> Any:
        request = sync_pb2.SyncFlagsRequest(selector=selector)
        return self._stub.SyncFlags(request, metadata=self._metadata)

    async def fetch(self, selector: str = LOCAL) -> str:
        request = sync_pb2.FetchAllFlagsRequest(selector=selector)
        answer = await self._stub.FetchAllFlags(
            request, metadata=self._metadata, timeout=HANG_SECONDS
        )
        document: str = answer.flag_configuration
        return document
