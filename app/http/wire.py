"""Reading of bodies and query parameters, and writing of JSON answers."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from app.errors import Malformed, Unsupported, Violation, malformed
from app.http.bodies import receive_body
from app.http.decoder import BODY_BYTES_MAX, TIME_RULE, decode, is_in_range
from app.http.keys import DEADLINE, DECODE_LIMITER, SETTINGS

JSON = ("application/json",)
# RFC 7396. Plain JSON has the same meaning.
MERGE_PATCH = ("application/merge-patch+json", *JSON)
# Larger bodies are decoded in a thread, because that may take several milliseconds.
_QUICK_BYTES = 16 * 1024
PAGE_SIZE = 100
PAGE_SIZE_MAX = 500
# The largest bigint of PostgreSQL.
LATEST = 2**63 - 1

Shape = TypeVar("Shape")
Option = TypeVar("Option", bound=StrEnum)

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


async def read_body(
    request: web.Request,
    shape: type[Shape],
    *,
    types: Sequence[str] = JSON,
    bytes_max: int = BODY_BYTES_MAX,
    answer_seconds: float | None = None,
) -> Shape:
    """Return the body, which must have one of the media types, as the given type.

    `answer_seconds` limits the time from the end of the body to the answer; the default is
    REQUEST_TIMEOUT. Raises as `receive_body` does, Malformed or Invalid.
    """
    if request.content_type not in types:
        rule = f"must be {' or '.join(types)}"
        raise Unsupported("content_type_unsupported", f"The body {rule}.")
    raw = await receive_body(request, bytes_max)
    allow(request, answer_seconds or request.app[SETTINGS].http.request_timeout_seconds)
    if len(raw) <= _QUICK_BYTES:
        return decode(raw, shape)
    return await request.app[DECODE_LIMITER].run("decode", lambda: decode(raw, shape))


def allow(request: web.Request, seconds: float) -> None:
    """Set the deadline of a write to this many seconds from now."""
    request[DEADLINE].reschedule(asyncio.get_running_loop().time() + seconds)


def read_query(request: web.Request, allowed: set[str]) -> dict[str, str]:
    """Return the query parameters. Raises Malformed for an unknown or repeated one."""
    if "?" not in request.raw_path:
        return {}
    query = request.query
    for name in query:
        if name not in allowed:
            raise Malformed(
                "parameter_unknown",
                "The query has an unknown parameter.",
                [Violation("query", f"must only have {', '.join(sorted(allowed)) or 'nothing'}")],
            )
        if len(query.getall(name)) > 1:
            raise malformed(name, "must be given once")
        if "\0" in query[name]:
            raise malformed(name, "must not contain NUL")
    return dict(query)


def page_size(query: Mapping[str, str]) -> int:
    """Return the parameter `limit`, 100 by default. Raises Malformed."""
    limit = whole_number(query, "limit")
    if limit is None:
        return PAGE_SIZE
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise malformed("limit", f"must be a whole number from 1 to {PAGE_SIZE_MAX}")
    return limit


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """Return a parameter that is a whole number, None when it is absent. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise malformed(name, "must be a whole number")
    return int(text)


def before(query: Mapping[str, str]) -> int:
    """Return the parameter `before`, by default a number beyond all. Raises Malformed."""
    number = whole_number(query, "before")
    return LATEST if number is None else number


def moment(query: Mapping[str, str]) -> int | datetime | None:
    """Return `revision` or `at` (RFC 3339), None when both are absent. Raises Malformed."""
    if "at" not in query:
        return whole_number(query, "revision")
    if "revision" in query:
        raise malformed("at", "must not be combined with revision")
    try:
        time = msgspec.convert(query["at"], _Time)
    except msgspec.ValidationError:
        rule = "must be a time with its offset, such as 2026-01-31T09:30:00Z"
        raise malformed("at", rule) from None
    if not is_in_range(time):
        raise malformed("at", TIME_RULE)
    return time


def choice(query: Mapping[str, str], name: str, options: type[Option]) -> Option | None:
    """Return a parameter that is one of the options, None when it is absent. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    if text not in set(options):
        raise malformed(name, f"must be one of {', '.join(options)}")
    return options(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false, false by default. Raises Malformed."""
    text = query.get(name, "false")
    if text not in {"true", "false"}:
        raise malformed(name, "must be true or false")
    return text == "true"


def answer(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )
