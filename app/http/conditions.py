"""Conditional requests (RFC 9110, section 13): If-Match, If-None-Match and entity tags."""

import re

import msgspec
from aiohttp import hdrs, web

from app.errors import ConditionMissing, Violation, malformed

# Proxies that compress change tags: nginx adds W/, Apache and Caddy write "3-gzip", Jetty
# "3--gzip", others "3;br". No tag of this service ends like that.
_ENTITY_TAG = re.compile(
    r'(?:W/)?"([!#-~]*?)(?:(?:--?|;)(?:x-)?(?:gzip|br|zstd|deflate|compress)){0,2}"'
)
# A tag of `entity_tag`; clients may leave out the epoch.
_VERSION = re.compile(r"([0-9]{1,18})(?:-([0-9a-f]{8}))?")


class ExpectedVersion(msgspec.Struct, frozen=True):
    """The version that a write expects: a number, None for no entry, or any that exists.

    `epoch` is a prefix that the environment's epoch must have.
    """

    version: int | None = None
    epoch: str = ""
    any_version: bool = False

    def is_met(self, version: int | None, epoch: str) -> bool:
        """Return whether the current version and the environment's epoch are the expected ones."""
        if self.any_version:
            return version is not None
        return self.version == version and epoch.startswith(self.epoch)


def read_expected_version(request: web.Request, *, may_create: bool) -> ExpectedVersion:
    """Return the version that If-Match or If-None-Match names (RFC 9110, section 13).

    Raises ConditionMissing when a write has neither (RFC 6585, section 3), and Malformed when the
    header cannot be read. A tag that is not ours matches nothing: version 0. A weak tag counts by
    the version in it, because a proxy that compresses answers weakens every tag.
    """
    for name in (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH):
        if len(request.headers.getall(name, ())) > 1:
            raise malformed(name, "must be given once")
    if_match = request.headers.get(hdrs.IF_MATCH)
    if_none_match = request.headers.get(hdrs.IF_NONE_MATCH)
    if if_match is not None and if_none_match is not None:
        raise malformed("If-Match", "must not be combined with If-None-Match")
    if if_match is not None:
        return _if_match(if_match)
    if if_none_match is not None and may_create:
        if if_none_match.strip() != "*":
            raise malformed("If-None-Match", "must be * for a write")
        return ExpectedVersion()
    options = 'If-Match: "VERSION" to change it'
    if may_create:
        options += ", or If-None-Match: * to create it"
    raise ConditionMissing(
        "condition_missing",
        f"Send the expected version: {options}.",
        [Violation("If-Match", "must name the expected version")],
    )


def _if_match(text: str) -> ExpectedVersion:
    if text.strip() == "*":
        return ExpectedVersion(any_version=True)
    match = _ENTITY_TAG.fullmatch(text.strip())
    if match is None:
        raise malformed("If-Match", 'must be one entity tag, such as "3", or *')
    version = _VERSION.fullmatch(match[1])
    if version is None:
        return ExpectedVersion(version=0)
    return ExpectedVersion(version=int(version[1]), epoch=version[2] or "")


def is_not_modified(request: web.Request, etag: str) -> bool:
    """Return whether If-None-Match names this tag, or any (weak comparison, RFC 9110, 13.1.2)."""
    if hdrs.IF_NONE_MATCH not in request.headers:
        return False
    return names_tag(request, etag) or "*" in _listed(request)


def names_tag(request: web.Request, etag: str) -> bool:
    """Return whether If-None-Match names this tag, ignoring suffixes that proxies add."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None or header == etag:
        return header is not None
    tags = (_ENTITY_TAG.fullmatch(part) for part in _listed(request))
    return etag[1:-1] in [match[1] for match in tags if match is not None]


def _listed(request: web.Request) -> list[str]:
    listed = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    return [part.strip() for part in listed.split(",")]
