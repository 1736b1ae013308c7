"""What the service knows of each route: enough to register, to guard and to document it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import HttpVersion11, web

from app.http import problems
from app.http.decoder import BODY_BYTES_MAX
from app.http.frame import request_id
from app.http.keys import Handler


@dataclass(frozen=True)
class Route:
    """One method of one path.

    `scope` None is open to everybody, and has to be said. `answers` and `body` are the types that
    are encoded and decoded; `query` and `conditions` name the parameters and request headers that
    mean something; `statuses` are the good ones; `also` are scopes that are needed besides;
    `around` is what surrounds the guard too, where errors have the shape of `failure`; `only_reads`
    is said of a POST that changes nothing; `takes` and `gives` are the media types of bodies and of
    good answers; `headers` name what the good answers carry besides the headers of every answer;
    `is_large` is of requests that may hold thousands of entries in memory;
    `tag` is the group of the route in the API's documentation.
    """

    method: str
    path: str
    handler: Handler
    scope: StrEnum | None
    answers: type[Any]
    body: type[Any] | None = None
    query: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    also: tuple[StrEnum, ...] = ()
    around: Callable[[Handler], Handler] | None = None
    failure: type[Any] | None = None
    only_reads: bool = False
    takes: tuple[str, ...] = ("application/json",)
    gives: tuple[str, ...] = ("application/json",)
    body_bytes_max: int = BODY_BYTES_MAX
    headers: tuple[str, ...] = ()
    is_large: bool = False
    tag: str = ""

    @property
    def writes(self) -> bool:
        return self.method != "GET" and not self.only_reads


async def expect(request: web.Request, *, bytes_max: int) -> web.StreamResponse | None:
    """Answer `Expect: 100-continue`; aiohttp would refuse anything else in plain text."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return problems.of_aiohttp(web.HTTPExpectationFailed(), request_id(request))
    # Nobody is invited to send what will be refused, and HTTP/1.0 does not know the word.
    if request.version >= HttpVersion11 and (request.content_length or 0) <= bytes_max:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written so far is no part of the answer.
        request.writer.output_size = 0
    return None
