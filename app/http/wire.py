"""Between bytes and values: reading a request's parts, writing an answer."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import hdrs, web

from app.errors import (
    ConditionMissing,
    Malformed,
    Unsupported,
    Violation,
    malformed,
)
from app.http.bodies import read_whole
from app.http.decoder import BODY_BYTES_MAX, decode
from app.http.keys import DEADLINE, SETTINGS

FLAGSTONE_REVISION = "Flagstone-Revision"
PAGE_SIZE = 100
PAGE_SIZE_MAX = 500

Shape = TypeVar("Shape")
Option = TypeVar("Option", bound=StrEnum)

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_ENTITY_TAG = re.compile(r'\s*(W/)?"([!#-~]*)"\s*')
# What entity_tag makes, with or without its second half.
_VERSION = re.compile(r"([0-9]{1,18})(?:-([0-9a-f]{8}))?")


async def read_body(request: web.Request, shape: type[Shape]) -> Shape:
    """Return the body in the shape that is asked for.

    Raises Unsupported, TooLarge, TooSlow, Malformed or Invalid.
    """
    return decode(await read_bytes(request), shape)


async def read_bytes(request: web.Request) -> bytes:
    """Return the body of a JSON request, whole."""
    if request.content_type != "application/json":
        raise Unsupported("content_type_unsupported", "The body must be application/json.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise Unsupported("content_encoding_unsupported", "The body must not be compressed.")
    return await receive(request)


async def receive(
    request: web.Request,
    *,
    bytes_max: int = BODY_BYTES_MAX,
    answer_seconds: float | None = None,
) -> bytes:
    """Return the body of a write, whole.

    `answer_seconds` is what the answer may take from now on, by default as long as any other.
    """
    body = await read_whole(request, bytes_max)
    # The time for the answer begins now; until here the body's own limit counted.
    allowed = answer_seconds or request.app[SETTINGS].http.request_timeout_seconds
    request[DEADLINE].reschedule(asyncio.get_running_loop().time() + allowed)
    return body


def read_query(request: web.Request, allowed: set[str]) -> dict[str, str]:
    """Return the query's parameters. Raises Malformed for an unknown or repeated one."""
    if "?" not in request.raw_path:
        return {}
    query = request.query
    for name in query:
        if name not in allowed:
            raise Malformed(
                "parameter_unknown",
                "The query has a parameter that is not known here.",
                [Violation("query", f"must only have {', '.join(sorted(allowed)) or 'nothing'}")],
            )
        if len(query.getall(name)) > 1:
            raise malformed(name, "must be given once")
        if "\0" in query[name]:
            raise malformed(name, "must not contain NUL")
    return dict(query)


def page_size(query: Mapping[str, str]) -> int:
    """Return the query's `limit`, 100 when there is none. Raises Malformed."""
    limit = whole_number(query, "limit")
    if limit is None:
        return PAGE_SIZE
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise malformed("limit", f"must be a whole number from 1 to {PAGE_SIZE_MAX}")
    return limit


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """Return a parameter that counts something, None when it is not given. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise malformed(name, "must be a whole number")
    return int(text)


def moment(query: Mapping[str, str]) -> int | datetime | None:
    """Return the `revision` or the time (`at`, RFC 3339) that is asked for, None for now.

    Raises Malformed.
    """
    if "at" not in query:
        return whole_number(query, "revision")
    if "revision" in query:
        raise malformed("at", "must not come together with revision")
    try:
        return msgspec.convert(query["at"], _Time)
    except msgspec.ValidationError:
        rule = "must be a time with its offset, such as 2026-01-31T09:30:00Z"
        raise malformed("at", rule) from None


def choice(query: Mapping[str, str], name: str, options: type[Option]) -> Option | None:
    """Return a parameter that is one of a few words, None without one. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    if text not in set(options):
        raise malformed(name, f"must be one of {', '.join(options)}")
    return options(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false, false when it is not given. Raises Malformed."""
    text = query.get(name, "false")
    if text not in {"true", "false"}:
        raise malformed(name, "must be true or false")
    return text == "true"


class Condition(msgspec.Struct, frozen=True):
    """What If-Match or If-None-Match asks of the entry: a version, anything, or nothing there.

    `epoch` is how the environment's must begin.
    """

    version: int | None = None
    epoch: str = ""
    present: bool = False


def read_condition(request: web.Request, *, may_create: bool) -> Condition:
    """Return the condition that every write must carry (RFC 9110, section 13; RFC 6585, section 3).

    Raises ConditionMissing without one, Malformed for one that is not understood. A tag that is
    weak or not one of ours is understood, and matches nothing: that is version 0.
    """
    for name in (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH):
        if len(request.headers.getall(name, ())) > 1:
            raise malformed(name, "must be given once")
    if_match = request.headers.get(hdrs.IF_MATCH)
    if_none_match = request.headers.get(hdrs.IF_NONE_MATCH)
    if if_match is not None and if_none_match is not None:
        raise malformed("If-Match", "must not come together with If-None-Match")
    if if_match is not None:
        return _if_match(if_match)
    if if_none_match is not None and may_create:
        if if_none_match.strip() != "*":
            raise malformed("If-None-Match", "must be * for a write")
        return Condition()
    wanted = 'If-Match: "VERSION" to change it'
    if may_create:
        wanted += ", or If-None-Match: * to create it"
    raise ConditionMissing(
        "condition_missing",
        f"Say which version you expect: {wanted}.",
        [Violation("If-Match", "must say which version is expected")],
    )


def _if_match(text: str) -> Condition:
    if text.strip() == "*":
        return Condition(present=True)
    match = _ENTITY_TAG.fullmatch(text)
    if match is None:
        raise malformed("If-Match", 'must be one entity tag, such as "3", or *')
    weak, tag = match.groups()
    version = _VERSION.fullmatch(tag)
    if weak or version is None:
        return Condition(version=0)
    return Condition(version=int(version[1]), epoch=version[2] or "")


def is_not_modified(request: web.Request, etag: str) -> bool:
    """Tell whether If-None-Match already names this tag (weak comparison, RFC 9110, 13.1.2)."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None or header == etag:
        return header is not None
    listed = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    tags = [part.strip().removeprefix("W/") for part in listed.split(",")]
    return "*" in tags or etag in tags


def entity_tag(version: int, epoch: str) -> str:
    """Return the tag of an entry: after a backup was restored, an old version may come again with
    another content, and must not be taken for the old one.
    """
    return f'"{version}-{epoch[:8]}"'


def answer(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )


def answer_bytes(body: bytes, *, headers: Mapping[str, str]) -> web.Response:
    """Return a JSON answer that is encoded already."""
    return web.Response(body=body, content_type="application/json", headers=headers)


def revision_header(epoch: str, revision: int) -> dict[str, str]:
    """Return the header that says which moment an answer is from."""
    return {FLAGSTONE_REVISION: f"{epoch}:{revision}"}
