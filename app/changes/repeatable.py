"""The Idempotency-Key of a request, with the digest of all that makes it the same request."""

import hashlib

from aiohttp import web

from app.changes.idempotency import Repeatable, check_key
from app.http import wire


async def read_repeatable(request: web.Request) -> Repeatable | None:
    """Return what makes the request repeatable, None when its author did not ask for it."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    body = await wire.receive(request) if request.body_exists else b""
    conditions = (request.headers.get(name, "") for name in ("If-Match", "If-None-Match"))
    head = "\n".join((request.method, request.raw_path, *conditions)).encode()
    return Repeatable(key=check_key(key), request=hashlib.sha256(head + b"\n\n" + body).digest())
