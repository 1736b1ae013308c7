"""Frames of HTTP/2, for clients that no library would be."""

import asyncio

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END_STREAM, _END_HEADERS = 1, 4


def frame(type_: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([type_, flags]) + stream.to_bytes(4) + payload


def settings(**values: int) -> bytes:
    """Return a SETTINGS frame; `window` is the initial window of each stream."""
    payload = b"\0\x04" + values["window"].to_bytes(4) if "window" in values else b""
    return frame(SETTINGS, 0, 0, payload)


def open_stream(stream: int, path: str, selector: bytes = b"flagSetId=local") -> bytes:
    """Return the frames of a call of the sync service."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    # Literals without an index: the simplest form of HPACK.
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in headers.items()
    )
    message = b"\x12" + bytes([len(selector)]) + selector
    body = b"\0" + len(message).to_bytes(4) + message
    return frame(HEADERS, _END_HEADERS, stream, block) + frame(DATA, _END_STREAM, stream, body)


async def connect(port: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection whose client reads nothing: its windows stay as small as at first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + settings())
    return reader, writer
