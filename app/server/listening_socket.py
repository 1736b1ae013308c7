"""The listening sockets of a service, and the claim that excludes other services from its port."""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from app.errors import ForeseenError, reason
from app.settings import HttpSettings, Settings
from app.settings.parsers import EVERY_ADDRESS

BACKLOG = 1024


class ListenError(ForeseenError):
    """HOST or PORT cannot be used. The text names the setting and its rule."""


@contextmanager
def claimed(http: HttpSettings) -> Iterator[None]:
    """Exclude other services from the port until the block ends. Raises ListenError.

    The workers of one service share the port. Two services must not share it by accident: no other
    process may listen on it now, and a second supervisor cannot take the claim.
    """
    for listener in bind(http, shared=False):
        listener.close()
    with socket.socket(socket.AF_UNIX) as claim:
        if sys.platform == "linux":
            # The kernel frees an abstract name however the process ends.
            try:
                claim.bind(f"\0flagstone/{','.join(http.hosts)}/{http.port}")
            except OSError as error:
                raise _listen_error(error, http, http.hosts[0]) from None
        yield


@contextmanager
def claimed_for_grpc(settings: Settings) -> Iterator[None]:
    """Exclude other services from GRPC_PORT, if it is set. Raises ListenError."""
    with ExitStack() as stack:
        if settings.grpc.port is not None:
            place = replace(settings.http, hosts=settings.grpc.hosts, port=settings.grpc.port)
            try:
                stack.enter_context(claimed(place))
            except ListenError as error:
                raise ListenError(f"GRPC_{error}") from None
        yield


def check_grpc_port(settings: Settings) -> None:
    """Raise ListenError if GRPC_PORT cannot be listened on. It blocks while names are resolved."""
    with claimed_for_grpc(settings):
        pass


@contextmanager
def bound(http: HttpSettings) -> Iterator[Sequence[socket.socket]]:
    """Yield sockets that share the port with other workers, and close them after the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(listener) for listener in bind(http, shared=True)]


def bind(http: HttpSettings, *, shared: bool) -> Sequence[socket.socket]:
    """Return a bound socket for each address of each host. None of them listens yet.

    It blocks while names are resolved. Raises ListenError.
    """
    with ExitStack() as stack:
        sockets: dict[tuple[int, object], socket.socket] = {}
        for host in http.hosts:
            try:
                for family, address in _addresses(host, http.port):
                    if (family, address) not in sockets:
                        listener = _bind(family, address, shared=shared)
                        sockets[family, address] = stack.enter_context(listener)
            except OSError as error:
                raise _listen_error(error, http, host) from None
        stack.pop_all()
    return list(sockets.values())


def _addresses(host: str, port: int) -> Sequence[tuple[int, tuple[object, ...]]]:
    if host == EVERY_ADDRESS:
        ipv4: tuple[int, tuple[object, ...]] = (socket.AF_INET, ("0.0.0.0", port))  # noqa: S104
        return [ipv4, (socket.AF_INET6, ("::", port))] if _has_ipv6() else [ipv4]
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in addresses]


def _has_ipv6() -> bool:
    """Return whether this machine has IPv6. Many containers do not."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _bind(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    listener = socket.socket(family)
    try:
        # SO_REUSEADDR alone does not let two services share a port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_error(error: OSError, http: HttpSettings, host: str) -> ListenError:
    if isinstance(error, socket.gaierror):
        return ListenError(f"HOST: {host} must be an address or a name that can be resolved")
    if error.errno == errno.EADDRINUSE:
        return ListenError(f"PORT: {http.port} is already in use on {host}; set another port")
    if error.errno in {errno.EACCES, errno.EPERM}:
        rule = "must be 1024 or higher for a process without CAP_NET_BIND_SERVICE"
        return ListenError(f"PORT: {rule}")
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"HOST: {host} must be an address of this machine")
    return ListenError(f"HOST: {host} cannot be listened on: {reason(error)}")
