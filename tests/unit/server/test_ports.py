"""HOST and PORT: every address is bound, and a refusal names the setting and its rule."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.server.listening_socket import ListenError, bind
from app.settings import HttpSettings, load
from tests.ports import free_port

EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - is bound for a moment, and listens on nothing
ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def _http(*hosts: str, port: int | None = None) -> HttpSettings:
    return replace(load({}).http, hosts=hosts, port=port or free_port())


@contextmanager
def _bound(http: HttpSettings) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(listener).getsockname()[0] for listener in bind(http, shared=False)
        ]


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        (("127.0.0.1",), ["127.0.0.1"]),
        (("127.0.0.1", "127.0.0.2"), ["127.0.0.1", "127.0.0.2"]),
        pytest.param(("::", EVERY_IPV4), ["::", EVERY_IPV4], marks=ipv6),
        pytest.param(("*",), [EVERY_IPV4, "::"], marks=ipv6),
        (("127.0.0.1", "127.0.0.1"), ["127.0.0.1"]),
    ],
)
def test_each_address_of_host_is_bound(hosts: tuple[str, ...], addresses: list[str]) -> None:
    with _bound(_http(*hosts)) as bound_addresses:
        assert bound_addresses == addresses


def test_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        http = _http("127.0.0.1", "127.0.0.2", port=taken.getsockname()[1])
        with pytest.raises(ListenError, match=f"^PORT: {http.port} is already in use on 127.0.0.2"):
            bind(http, shared=False)

    # The first address was given back.
    with _bound(http) as addresses:
        assert addresses == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("unknown.invalid", "HOST: unknown.invalid must be an address or a name that can be"),
        ("192.0.2.1", "HOST: 192.0.2.1 must be an address of this machine"),
    ],
)
def test_host_of_another_machine_is_named(host: str, message: str) -> None:
    with pytest.raises(ListenError, match=message):
        bind(_http(host), shared=False)


@pytest.mark.skipif(
    os.geteuid() != 0 or not _UNPRIVILEGED.exists() or _UNPRIVILEGED.read_text() == "0\n",
    reason="needs root, who becomes another user, and a kernel that reserves ports",
)
def test_privileged_port_names_the_rule() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(ListenError, match=r"^PORT: must be 1024 or higher"):
            bind(_http("127.0.0.1", port=1), shared=False)
    finally:
        os.seteuid(0)
