"""flagd's sync service on the main port: `GET /v1/flags`, and unary calls by Connect."""

import time
from email.utils import formatdate
from typing import Any

import msgspec
from aiohttp import hdrs, web

from app.access.guard import CALLER
from app.configuration.snapshots.reading import load_snapshot, snapshot_head_lines
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.transfer.flagd_document import document_etag, flagd_document, left_out_header
from app.errors import Unsupported
from app.flags.flagd_sync.selector import FLAGD_SELECTOR, selected_environment
from app.http import conditions, wire
from app.http.bodies import receive_read_body
from app.http.decoder import decode
from app.http.encoded import EncodedResponse, encoded
from app.http.headers import header_lines

REQUEST_BYTES_MAX = 16 * 1024
_VARY = header_lines({hdrs.VARY: FLAGD_SELECTOR})
# A time in seconds does not tell two changes within a second apart. After this time, every change
# of that second is known.
SETTLED_SECONDS = 5
# The limit of remembered documents.
_SEEN_MAX = 1_024


class FlagsRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`selector` is used without the header `Flagd-Selector`."""

    provider_id: str = ""
    selector: str = ""


class FetchedFlags(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The flagd document as text."""

    flag_configuration: str


class SyncMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Values for the context of each evaluation. There are none."""

    metadata: dict[str, Any] = {}


class FirstSeen:
    """The time at which this process first served the current document of each environment.

    A caller with rights for some keys has a document of its own.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, tuple[str, ...]], tuple[str, float]] = {}

    def last_modified(self, snapshot: Snapshot, etag: str) -> str | None:
        """Return the date, or None in the first seconds."""
        now = time.time()
        name = snapshot.environment.name, snapshot.limits.prefixes
        known, seen_at = self._seen.get(name, ("", 0.0))
        if known != etag:
            if len(self._seen) >= _SEEN_MAX:
                self._seen.clear()
            self._seen[name] = etag, now
            return None
        return formatdate(seen_at, usegmt=True) if now - seen_at > SETTLED_SECONDS else None


FIRST_SEEN: web.AppKey[FirstSeen] = web.AppKey("flags_first_seen", FirstSeen)


async def get_flags(request: web.Request) -> web.Response:
    """Get the flags of the selected environment.

    The answer is a flagd document, as that of `flags.json`. The header
    `Flagd-Selector: flagSetId=ENVIRONMENT` selects the environment. A token for one environment
    needs no selector.
    """
    wire.read_query(request, set())
    snapshot = await _selected(request, "")
    etag = document_etag(snapshot)
    last_modified = request.app[FIRST_SEEN].last_modified(snapshot, etag)
    head = snapshot_head_lines(request, snapshot) + _VARY + f"ETag: {etag}\r\n".encode()
    if last_modified is not None:
        head += header_lines({hdrs.LAST_MODIFIED: last_modified})
    if _is_not_modified(request, etag, last_modified):
        return EncodedResponse(b"", head, status=304)
    body, left_out = await flagd_document(snapshot)
    return encoded(body, "application/json", head + header_lines(left_out_header(left_out)))


async def fetch_all_flags(request: web.Request) -> web.Response:
    """Fetch the flags of the selected environment by Connect.

    `flagConfiguration` is the flagd document as text. The header `Flagd-Selector` has priority over
    the member `selector`. A token for one environment needs neither.
    """
    body = decode(await _received(request), FlagsRequest)
    snapshot = await _selected(request, body.selector)
    document, left_out = await flagd_document(snapshot)
    answer = msgspec.json.encode(FetchedFlags(flag_configuration=document.decode()))
    head = snapshot_head_lines(request, snapshot) + header_lines(left_out_header(left_out))
    return encoded(answer, "application/json", head)


async def get_metadata(request: web.Request) -> web.Response:
    """Get the context values of the sync service by Connect.

    They are empty: providers would add them to the context of each evaluation.
    """
    decode(await _received(request), dict)
    return wire.answer(SyncMetadata())


async def _received(request: web.Request) -> bytes:
    if request.content_type not in wire.JSON:
        raise Unsupported("content_type_unsupported", "The body must be application/json.")
    return await receive_read_body(request, REQUEST_BYTES_MAX)


async def _selected(request: web.Request, selector: str) -> Snapshot:
    selector = request.headers.get(FLAGD_SELECTOR) or selector
    return await load_snapshot(request, selected_environment(selector, request[CALLER].rights))


def _is_not_modified(request: web.Request, etag: str, last_modified: str | None) -> bool:
    """Return whether the client has the document. If-None-Match has priority (RFC 9110, 13.2.2).

    The date must be equal: each instance has its own date for the same document.
    """
    if hdrs.IF_NONE_MATCH in request.headers:
        return conditions.is_not_modified(request, etag)
    return last_modified is not None and (
        request.headers.get(hdrs.IF_MODIFIED_SINCE) == last_modified
    )
