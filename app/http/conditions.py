"""Conditional requests (RFC 9110, section 13): entity tags, and what a request says about them."""

import re

import msgspec
from aiohttp import hdrs, web

from app.errors import ConditionMissing, Violation, malformed

# W/ and the suffix come from proxies that compress: nginx weakens a tag, Apache and Caddy write
# "3-gzip", Jetty "3--gzip", others "3;br". None of our own tags ends like that.
_ENTITY_TAG = re.compile(
    r'(?:W/)?"([!#-~]*?)(?:(?:--?|;)(?:x-)?(?:gzip|br|zstd|deflate|compress)){0,2}"'
)
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

    Raises ConditionMissing without one, Malformed for one that is not understood. A tag that is not
    one of ours is understood and matches nothing: that is version 0. A weak one counts by the
    version in it: a proxy that compresses answers weakens every tag that a client can send back.
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
    match = _ENTITY_TAG.fullmatch(text.strip())
    if match is None:
        raise malformed("If-Match", 'must be one entity tag, such as "3", or *')
    version = _VERSION.fullmatch(match[1])
    if version is None:
        return Condition(version=0)
    return Condition(version=int(version[1]), epoch=version[2] or "")


def is_not_modified(request: web.Request, etag: str) -> bool:
    """Tell whether If-None-Match names this tag, or any (weak comparison, RFC 9110, 13.1.2)."""
    return names_tag(request, etag) or "*" in _listed(request)


def names_tag(request: web.Request, etag: str) -> bool:
    """Tell whether If-None-Match names this very tag, whatever a proxy has added to it."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None or header == etag:
        return header is not None
    tags = (_ENTITY_TAG.fullmatch(part) for part in _listed(request))
    return etag[1:-1] in [match[1] for match in tags if match is not None]


def _listed(request: web.Request) -> list[str]:
    listed = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    return [part.strip() for part in listed.split(",")]
