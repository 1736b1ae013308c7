"""The Idempotency-Key of a request, with the digest of all that makes it the same request.

The digest is keyed: the request may carry a secret, which whoever reads the table could find by
guessing at a plain one.
"""

import hmac

from aiohttp import web

from app.changes.idempotency import Repeatable, check_key
from app.crypto.fields import joined
from app.http import wire
from app.settings import Secret


class RequestDigest:
    """HMAC-SHA-256 under a key that is not in the database, the same on every instance."""

    def __init__(self) -> None:
        self._key = b""

    def use_key(self, key: Secret) -> None:
        self._key = joined("flagstone/request/1", key.reveal())

    def of(self, sent: bytes) -> bytes:
        return hmac.digest(self._key, sent, "sha256")


DIGESTS: web.AppKey[RequestDigest] = web.AppKey("digests", RequestDigest)


async def read_repeatable(
    request: web.Request, *, dry_run: bool, body: bytes | None = None
) -> Repeatable | None:
    """Return what makes the request repeatable, None when its author did not ask for it.

    `body` is given where it was read already. A dry run is not kept, and yet refuses a key that the
    write itself would refuse.
    """
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    key = check_key(text)
    if dry_run:
        return None
    if body is None:
        body = await wire.receive(request) if request.body_exists else b""
    conditions = (request.headers.get(name, "") for name in ("If-Match", "If-None-Match"))
    head = "\n".join((request.method, request.raw_path, *conditions))
    # As it was sent: a header may hold bytes that are no UTF-8.
    sent = head.encode(errors="surrogateescape") + b"\n\n" + body
    return Repeatable(key=key, request=request.app[DIGESTS].of(sent))
