"""Conditional requests (RFC 9110, section 13): entity tags, and what a request says about them."""

import re

import msgspec
from aiohttp import hdrs, web

from app.errors import ConditionMissing, Violation, malformed

_ENTITY_TAG = re.compile(r'\s*(W/)?"([!#-~]*)"\s*')
# What entity_tag makes, with or without its second half.
_VERSION = re.compile(r"([0-9]{1,18})(?:-([0-9a-f]{8}))?")


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
