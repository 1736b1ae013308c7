"""The server of gRPC. Import this module only after the fork of a worker, and only with grpcio.

The threads of grpcio read the frames of all connections and limit floods, so the event loop runs
for whole calls alone. A call's answer is bytes: the package protobuf is not needed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

from app.access.models import Scope
from app.configuration.snapshots.source import SnapshotSource
from app.configuration.transfer.flagd_document import flagd_document
from app.errors import AppError, TooSlow
from app.flags.flagd_sync.access import Call, CallAccess
from app.flags.flagd_sync.feed import SyncFeeds
from app.flags.flagd_sync.messages import (
    METADATA_ANSWER,
    fetched_flags,
    read_selector,
)
from app.flags.flagd_sync.selector import FLAGD_SELECTOR
from app.flags.flagd_sync.status import Code, code_of
from app.log import logger
from app.settings import GrpcSettings
from app.settings.parsers import EVERY_ADDRESS

log = logger(__name__)

SERVICE = "flagd.sync.v1.FlagSyncService"
# A client that does not read a message for this time is disconnected.
SEND_SECONDS = 10.0
STOP_SECONDS = 2.0
# For calls that are not streams.
_OTHER_CALLS_MAX = 100
_CODES = {code: grpc.StatusCode[code.name] for code in Code}


def _options(settings: GrpcSettings, *, shares_port: bool) -> list[tuple[str, int]]:
    connections = settings.streams_max + _OTHER_CALLS_MAX
    return [
        # Otherwise two services could share the port by accident.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.max_receive_message_length", 16 * 1024),
        ("grpc.max_send_message_length", -1),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 300_000),
        # Finds clients that are gone without a FIN.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Providers may ping each 10 s. After two that are earlier, the connection is closed.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
    ]


class SyncServer:
    """Serves the calls of flagd's sync service on its addresses until `stop`."""

    def __init__(
        self,
        settings: GrpcSettings,
        source: SnapshotSource,
        access: CallAccess,
        feeds: SyncFeeds,
        *,
        shares_port: bool,
        serves_socket: bool,
    ) -> None:
        self._settings = settings
        self._source = source
        self._access = access
        self._feeds = feeds
        self._serves_socket = serves_socket
        self.refused = 0
        self.slow = 0
        self._server = aio.server(
            options=_options(settings, shares_port=shares_port),
            maximum_concurrent_rpcs=settings.streams_max + _OTHER_CALLS_MAX,
        )
        handlers = {
            "SyncFlags": grpc.unary_stream_rpc_method_handler(self._sync_flags),
            "FetchAllFlags": grpc.unary_unary_rpc_method_handler(self._fetch_all_flags),
            "GetMetadata": grpc.unary_unary_rpc_method_handler(self._get_metadata),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )

    async def start(self) -> Sequence[str]:
        """Listen, and return the addresses. Raises RuntimeError with the first that is refused."""
        credentials = _credentials(self._settings)
        addresses = [] if self._settings.port is None else _addresses(self._settings)
        for address in addresses:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        if self._settings.socket is not None and self._serves_socket:
            addresses.append(f"unix:{self._settings.socket}")
            self._server.add_insecure_port(addresses[-1])
            # The account and the group of the service may connect.
            self._settings.socket.chmod(0o660)
        await self._server.start()
        return addresses

    async def stop(self) -> None:
        """Accept no calls, end all streams, and wait for running calls."""
        await self._feeds.close()
        await self._server.stop(STOP_SECONDS)

    async def _sync_flags(self, message: bytes, context: Any) -> None:
        async with self._answered(context, "SyncFlags") as call:
            authorize = self._access.authorize(call)
            caller = authorize()
            environment = self._access.environment(call, caller, _selector(message, context))
            async with self._feeds.stream(environment, caller.token_id or "", authorize) as stream:
                while True:
                    await self._send(context, await stream.next_message())
                    stream.sent()

    async def _send(self, context: Any, message: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await context.write(message)
        except TimeoutError:
            self.slow += 1
            raise TooSlow(
                "client_too_slow", f"The client did not read a message in {SEND_SECONDS:g} seconds."
            ) from None

    async def _fetch_all_flags(self, message: bytes, context: Any) -> bytes:
        async with self._answered(context, "FetchAllFlags") as call:
            caller = self._access.authorize(call)()
            environment = self._access.environment(call, caller, _selector(message, context))
            snapshot = await self._source.read(environment)
            own = await self._source.part(snapshot, caller.rights.keys(Scope.READ, environment))
            return fetched_flags((await flagd_document(own)).body)
        raise AssertionError("a refused call does not get here")

    async def _get_metadata(self, _: bytes, context: Any) -> bytes:
        async with self._answered(context, "GetMetadata") as call:
            self._access.authorize(call)
        return METADATA_ANSWER

    @asynccontextmanager
    async def _answered(self, context: Any, method: str) -> AsyncIterator[Call]:
        """Yield the call. End it with the status of an error."""
        try:
            yield _call(context, method)
        except AppError as error:
            self.refused += 1
            await context.abort(_CODES[code_of(error)], error.message)
        except (aio.AbortError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("flagd_sync_call_failed", method=method)
            await context.abort(grpc.StatusCode.INTERNAL, "An unexpected error occurred.")


def _call(context: Any, method: str) -> Call:
    metadata = context.invocation_metadata() or ()
    return Call(
        method=f"/{SERVICE}/{method}",
        client=_client(context.peer()),
        authorization=[value for name, value in metadata if name == "authorization"],
        names=_names(context.auth_context()),
    )


def _client(peer: str) -> str:
    """Return the address in `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`; empty for `unix:`."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in {"ipv4", "ipv6"} else ""


def _names(auth_context: Any) -> list[str]:
    """Return the names of a client's certificate: the alternative ones, else the common one."""
    for kind in ("x509_subject_alternative_name", "x509_common_name"):
        if names := [name.decode(errors="replace") for name in auth_context.get(kind, ())]:
            return names
    return []


def _selector(message: bytes, context: Any) -> str:
    """Return the selector of the metadata, or that of the message."""
    of_message = read_selector(message)
    name = FLAGD_SELECTOR.lower()
    of_metadata = next((v for n, v in context.invocation_metadata() or () if n == name), "")
    return of_metadata or of_message


def _addresses(settings: GrpcSettings) -> list[str]:
    def address(host: str) -> str:
        if host == EVERY_ADDRESS:
            return f"[::]:{settings.port}"
        return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"

    return [address(host.strip("[]")) for host in settings.hosts]


def _credentials(settings: GrpcSettings) -> Any:
    """Return the credentials of TLS, or None. The files are read again for each connection.

    Raises OSError.
    """
    files = (settings.tls_key, settings.tls_certificate, settings.tls_client_ca)
    if settings.tls_key is None or settings.tls_certificate is None:
        return None

    def read() -> Any:
        key, certificate, ca = (file.read_bytes() if file else None for file in files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], ca)

    return grpc.dynamic_ssl_server_credentials(
        read(), _reloaded(read), require_client_authentication=settings.tls_client_ca is not None
    )


def _reloaded(read: Callable[[], Any]) -> Callable[[], Any]:
    def reload() -> Any:
        """Return the new configuration, or None to use the last one."""
        try:
            return read()
        except (OSError, ValueError):
            log.warning("flagd_sync_certificate_unreadable")
            return None

    return reload
