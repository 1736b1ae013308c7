"""The way over TLS, when there is no server of PostgreSQL at its other end, or no longer."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from app.operations.backups.bridge import bridged
from app.settings import Target, Tls, TlsMode


@contextmanager
def _server(answer: bytes) -> Iterator[Target]:
    """A server that has no TLS, and ends the connection after its answer, unless that is all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(8)
            peer.sendall(b"N")
            peer.recv(8)
            peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with closing(listener):
        yield Target(
            hosts=(listener.getsockname(),),
            database="flagstone",
            user="backup",
            tls=Tls(mode=TlsMode.PREFER),
        )
        thread.join(10)


@pytest.mark.parametrize(
    "answer", [b"", b"R\0\0", b"R" + struct.pack("!I", 1), b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
def test_a_server_that_is_none_ends_the_connection_at_once(answer: bytes) -> None:
    with (
        _server(answer) as target,
        bridged(target) as near,
        socket.socket(socket.AF_UNIX) as program,
    ):
        _greet(program, near)

        assert program.recv(1) == b""


def test_a_way_that_ends_under_a_program_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        socket.socket(socket.AF_UNIX) as program,
        _server(b"R" + struct.pack("!II", 8, 0)) as target,
        bridged(target) as near,
    ):
        _greet(program, near)
        assert program.recv(1) == b"R"

    assert capfd.readouterr().err == ""


def _greet(program: socket.socket, near: Target) -> None:
    ((folder, port),) = near.hosts
    program.settimeout(5)
    program.connect(f"{folder}/.s.PGSQL.{port}")
    program.sendall(struct.pack("!II", 8, 196608))
