"""A Unix socket that leads to a server over TLS, for programs that have none of their own.

The embedded PostgreSQL's programs are built without TLS. Here the connection is made as the service
makes it, with the same files and the same checks, and the program speaks into a socket that this
account alone can reach.
"""

import asyncio
import shutil
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.database.client.drivers import asyncpg_tls
from app.log import logger
from app.operations.backups.errors import BackupError
from app.settings import Target, TlsMode

log = logger(__name__)

_PORT = 5432
_CONNECT_SECONDS = 10
_CHUNK = 65_536
# PostgreSQL's request for TLS: a length of 8, and the code 80877103.
_TLS_REQUEST = struct.pack("!II", 8, 80877103)
# A message: its kind, and a length that counts itself. The first to ask for a password, or to
# refuse, is an R or an E.
_HEADER = struct.Struct("!cI")
_LENGTH_BYTES = 4
_AUTHENTICATION = (b"R", b"E")


@contextmanager
def bridged(target: Target) -> Iterator[Target]:
    """Yield a target that any program can reach, for as long as the block lasts.

    It is the same one where no TLS is asked for. Raises TlsFileError, BackupError.
    """
    if target.is_socket or target.tls.mode in {None, TlsMode.DISABLE}:
        yield target
        return
    host, port = target.hosts[0]
    tls = asyncpg_tls(target)
    connect = _Connect(host, port, tls if isinstance(tls, ssl.SSLContext) else None)
    folder = Path(tempfile.mkdtemp(prefix="flagstone-tls-"))
    thread = _Thread(connect, folder / f".s.PGSQL.{_PORT}")
    try:
        thread.begin()
        yield Target(
            hosts=((str(folder), _PORT),),
            database=target.database,
            user=target.user,
            password=target.password,
        )
    finally:
        thread.end()
        shutil.rmtree(folder, ignore_errors=True)


class _Connect:
    """Opens the way to the server; without a context, with TLS only if the server has it."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host, self._port = host, port
        self._is_optional = context is None
        self._context = context or _unverified()

    async def __call__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # Before the streams are made: asyncio's own start_tls leaves a reader without flow control.
        peer = socket.create_connection((self._host, self._port), timeout=_CONNECT_SECONDS)
        try:
            speaks_tls = self._asks(peer)
            peer.setblocking(False)
            return await asyncio.open_connection(
                sock=peer,
                limit=_CHUNK,
                ssl=self._context if speaks_tls else None,
                server_hostname=self._host if speaks_tls else None,
            )
        except BaseException:
            peer.close()
            raise

    def _asks(self, peer: socket.socket) -> bool:
        peer.sendall(_TLS_REQUEST)
        speaks_tls = peer.recv(1) == b"S"
        if not speaks_tls and not self._is_optional:
            raise ConnectionError("the server does not speak TLS")
        return speaks_tls


def _unverified() -> ssl.SSLContext:
    # What libpq's `prefer` does, and the local tier alone allows.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Thread:
    """A thread with an event loop of its own, which serves the socket until it is ended."""

    def __init__(self, connect: _Connect, path: Path) -> None:
        self._connect = connect
        self._path = path
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)

    def begin(self) -> None:
        self._thread.start()
        if not self._ready.wait(_CONNECT_SECONDS):
            raise BackupError("the way to the server over TLS does not open")

    def end(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(_CONNECT_SECONDS)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError, OSError):
            self._loop.run_until_complete(self._serve())
        self._cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._join, self._path, limit=_CHUNK)
        async with server:
            self._ready.set()
            await server.serve_forever()

    async def _join(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            reader, writer = await self._connect()
        except OSError as error:
            # The program only sees that the connection ends; the reason is ours to tell.
            log.warning("tls_bridge_failed", error=type(error).__name__)
            back.close()
            return
        # A task of a stream that ends as cancelled is told of by asyncio with a traceback.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(_pump(near, writer), _answer(reader, back), return_exceptions=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what the server says, but for the offer to bind a password to the TLS connection.

    A program that sees no TLS would take that offer for an attack. What it guards against, another
    server in between, the certificate has been checked against here.
    """
    try:
        kind = b""
        while kind not in _AUTHENTICATION:
            kind, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            if not _LENGTH_BYTES <= length <= _CHUNK:
                raise ConnectionError("no server of PostgreSQL")
            body = await reader.readexactly(length - _LENGTH_BYTES)
            if kind == b"R":
                body = body.replace(b"SCRAM-SHA-256-PLUS\0", b"")
            writer.write(_HEADER.pack(kind, len(body) + _LENGTH_BYTES) + body)
        await _pump(reader, writer)
    finally:
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
