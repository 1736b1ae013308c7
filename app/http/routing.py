"""The declaration of a route, from which it is registered, guarded and documented."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import HttpVersion11, web

from app.http import problems
from app.http.decoder import BODY_BYTES_MAX
from app.http.fast_path import HotAnswer
from app.http.frame import request_id
from app.http.keys import Handler


@dataclass(frozen=True)
class Route:
    """One method of one path.

    `scope`: the scope that the guard requires; None allows every caller.
    `any_scope`: the guard requires a valid token, and no scope.
    `also`: further scopes that it requires.
    `by_key`: the handler filters by the keys of the caller. Without it, the guard refuses callers
    whose scopes do not hold for all keys.
    `answers`, `body`: the types of answers and request bodies.
    `gives`, `takes`: the media types of successful answers and request bodies.
    `query`, `conditions`: the query parameters and request headers that the handler reads.
    `required`: the query parameters that must be given.
    `statuses`, `headers`: the statuses of success, and the headers that such answers add.
    `accepted`: the type of an answer 202, with a Location; None if there is none.
    `within`: a wrapper inside the guard.
    `around`: a wrapper outside the guard. Errors then have the type `failure`.
    `has_cors`: pages of other origins may use the route; OPTIONS answers their preflight.
    `only_reads`: the route changes nothing, although its method is POST.
    `hot`: answers the usual requests inside the protocol, see `fast_path.py`; `around_hot` is a
    wrapper like `around`.
    `is_large`: a request may need thousands of entries in memory.
    """

    method: str
    path: str
    handler: Handler
    scope: StrEnum | None
    answers: type[Any]
    body: type[Any] | None = None
    query: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    also: tuple[StrEnum, ...] = ()
    by_key: bool = False
    accepted: type[Any] | None = None
    within: Callable[[Handler], Handler] | None = None
    around: Callable[[Handler], Handler] | None = None
    failure: type[Any] | None = None
    any_scope: bool = False
    has_cors: bool = False
    only_reads: bool = False
    takes: tuple[str, ...] = ("application/json",)
    gives: tuple[str, ...] = ("application/json",)
    body_bytes_max: int = BODY_BYTES_MAX
    headers: tuple[str, ...] = ()
    is_large: bool = False
    hot: HotAnswer | None = None
    around_hot: Callable[[HotAnswer], HotAnswer] = lambda answer: answer

    @property
    def needs_token(self) -> bool:
        return self.scope is not None or self.any_scope

    @property
    def writes(self) -> bool:
        return self.method != "GET" and not self.only_reads


async def expect(request: web.Request, *, bytes_max: int) -> web.StreamResponse | None:
    """Answer `Expect: 100-continue`, and refuse any other expectation with a problem."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return problems.of_aiohttp(web.HTTPExpectationFailed(), request_id(request))
    # A body that is too large is refused later. HTTP/1.0 has no status 100.
    if request.version >= HttpVersion11 and (request.content_length or 0) <= bytes_max:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # These bytes are not part of the answer.
        request.writer.output_size = 0
    return None
