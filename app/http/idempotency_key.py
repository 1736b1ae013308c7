"""The Idempotency-Key of a request, with the digest of all that makes it the same request.

The digest is keyed: the request may carry a secret, which whoever reads the table could find by
guessing at a plain one.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from app.crypto.derivation import Purpose, derive
from app.errors import AppError
from app.http.bodies import read_whole
from app.http.idempotency import Repeatable, check_key
from app.settings import Secret

Result = TypeVar("Result")


class RequestDigest:
    """HMAC-SHA-256 under a key that is not in the database, the same on every instance."""

    def __init__(self, key: Secret) -> None:
        self._key = derive(key, Purpose.REQUEST_DIGESTS)

    def of(self, sent: bytes) -> bytes:
        return hmac.digest(self._key, sent, "sha256")


DIGESTS: web.AppKey[RequestDigest] = web.AppKey("digests", RequestDigest)


async def checked(request: web.Request, check: Awaitable[Result]) -> Callable[[], Result]:
    """Return a function that gives the result of a check, for the work of a write.

    A repeated request gets its first answer, whatever the check says this time: it may take too
    long, or a newer release may have other rules. So the function raises what the check raised, if
    the request has an Idempotency-Key. Without one, the error is raised at once.
    """
    try:
        result = await check
    except AppError as error:
        if "Idempotency-Key" not in request.headers:
            raise
        # Without its frames, and given away when it is raised: a cycle would keep the whole body.
        errors = [error.with_traceback(None)]

        def refuse() -> Result:
            raise errors.pop()

        return refuse
    return lambda: result


async def read_repeatable(request: web.Request, *, dry_run: bool) -> Repeatable | None:
    """Return what makes the request repeatable, None when its author did not ask for it.

    A dry run is not kept, and yet refuses a key that the
    write itself would refuse.
    """
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    key = check_key(text)
    if dry_run:
        return None
    body = await read_whole(request) if request.body_exists else b""
    conditions = (request.headers.get(name, "") for name in ("If-Match", "If-None-Match"))
    head = "\n".join((request.method, request.raw_path, *conditions))
    # As it was sent: a header may hold bytes that are no UTF-8.
    sent = head.encode(errors="surrogateescape") + b"\n\n" + body
    return Repeatable(key=key, request=request.app[DIGESTS].of(sent))
