"""Every URL, with the scope it needs and the types it speaks; the guard and OpenAPI ask here."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import HttpVersion11, web

from app.access.guard import guarded
from app.access.models import Scope
from app.changes import handlers as changes
from app.changes.views import (
    ChangeSetPage,
    ChangeSetView,
    Difference,
    KeyHistory,
    MadeChangeSets,
    NewChangeSet,
    NewPromotion,
    NewRestore,
    NewRevert,
)
from app.configurations import handlers as configurations
from app.configurations.models import ConfigurationPage, NewConfiguration, Written
from app.environments.models import Environment, EnvironmentList
from app.health import handlers as health
from app.health.report import Report
from app.http import problems
from app.http.decoder import BODY_BYTES_MAX
from app.http.keys import Handler
from app.http.middleware import request_id
from app.snapshots import handlers as environments
from app.snapshots.snapshot import Configuration


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path. `scope` None is open to everybody, and has to be said."""

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    answers: type[Any]
    body: type[Any] | None = None
    query: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    statuses: tuple[int, ...] = field(default=(200,))

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().split("\n")[0]


_ENVIRONMENT = "/v1/environments/{environment}"
# Not .+, which stops at a line break: such a key is to be refused by its own rule.
_CONFIGURATION = _ENVIRONMENT + r"/configurations/{key:[\s\S]+}"

_CHANGE_SET = _ENVIRONMENT + "/changes/{revision:[0-9]{1,18}}"

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET", path="/health/live", handler=health.live, scope=None, answers=health.Answer
    ),
    Route(
        method="GET",
        path="/health/started",
        handler=health.started,
        scope=None,
        answers=health.Answer,
        statuses=(200, 503),
    ),
    Route(
        method="GET",
        path="/health/ready",
        handler=health.ready,
        scope=None,
        answers=health.Answer,
        statuses=(200, 503),
    ),
    Route(
        method="GET",
        path="/health",
        handler=health.report,
        scope=Scope.READ,
        answers=Report,
        statuses=(200, 503),
    ),
    Route(
        method="GET",
        path="/v1/environments",
        handler=environments.list_environments,
        scope=Scope.READ,
        answers=EnvironmentList,
    ),
    Route(
        method="GET",
        path=_ENVIRONMENT,
        handler=environments.get_environment,
        scope=Scope.READ,
        answers=Environment,
        query=("min_revision",),
    ),
    Route(
        method="GET",
        path=_ENVIRONMENT + "/configurations",
        handler=configurations.list_configurations,
        scope=Scope.READ,
        answers=ConfigurationPage,
        query=("prefix", "kind", "after", "limit", "revision", "min_revision"),
    ),
    # Before the entry itself, whose key may hold slashes: a key that ends in /history is reached
    # with that slash written as %2F.
    Route(
        method="GET",
        path=_CONFIGURATION + "/history",
        handler=changes.list_key_history,
        scope=Scope.READ,
        answers=KeyHistory,
        query=("before", "limit"),
    ),
    Route(
        method="GET",
        path=_CONFIGURATION,
        handler=configurations.get_configuration,
        scope=Scope.READ,
        answers=Configuration,
        query=("revision", "min_revision"),
        statuses=(200, 304),
        conditions=("If-None-Match",),
    ),
    Route(
        method="PUT",
        path=_CONFIGURATION,
        handler=configurations.put_configuration,
        scope=Scope.WRITE,
        body=NewConfiguration,
        answers=Written,
        query=("dry_run",),
        statuses=(200, 201),
        conditions=("If-Match", "If-None-Match", "Idempotency-Key"),
    ),
    Route(
        method="DELETE",
        path=_CONFIGURATION,
        handler=configurations.delete_configuration,
        scope=Scope.WRITE,
        answers=Written,
        query=("dry_run",),
        conditions=("If-Match", "Idempotency-Key"),
    ),
    Route(
        method="GET",
        path=_ENVIRONMENT + "/changes",
        handler=changes.list_change_sets,
        scope=Scope.READ,
        answers=ChangeSetPage,
        query=("before", "limit"),
    ),
    Route(
        method="POST",
        path=_ENVIRONMENT + "/changes",
        handler=changes.create_change_set,
        scope=Scope.WRITE,
        body=NewChangeSet,
        answers=MadeChangeSets,
        query=("dry_run",),
        conditions=("Idempotency-Key",),
    ),
    Route(
        method="GET",
        path=_CHANGE_SET,
        handler=changes.get_change_set,
        scope=Scope.READ,
        answers=ChangeSetView,
    ),
    Route(
        method="POST",
        path=_CHANGE_SET + "/revert",
        handler=changes.revert_change_set,
        scope=Scope.WRITE,
        body=NewRevert,
        answers=MadeChangeSets,
        query=("dry_run",),
        conditions=("Idempotency-Key",),
    ),
    Route(
        method="POST",
        path=_ENVIRONMENT + "/restore",
        handler=changes.restore_environment,
        scope=Scope.WRITE,
        body=NewRestore,
        answers=MadeChangeSets,
        query=("dry_run",),
        conditions=("Idempotency-Key",),
    ),
    Route(
        method="POST",
        path=_ENVIRONMENT + "/promote",
        handler=changes.promote_keys,
        scope=Scope.WRITE,
        body=NewPromotion,
        answers=MadeChangeSets,
        query=("dry_run",),
        conditions=("Idempotency-Key",),
    ),
    Route(
        method="GET",
        path=_ENVIRONMENT + "/diff",
        handler=changes.get_difference,
        scope=Scope.READ,
        answers=Difference,
        query=("from", "to", "against"),
    ),
)


def add_routes(app: web.Application) -> None:
    """Put every route into the application, behind the guard where it needs a scope."""
    for route in ROUTES:
        handler = route.handler if route.scope is None else guarded(route.handler, route.scope)
        app.router.add_route(route.method, route.path, handler, expect_handler=_expect)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler, expect_handler=_expect)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect: 100-continue`; aiohttp would refuse anything else in plain text."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return problems.of_aiohttp(web.HTTPExpectationFailed(), request_id(request))
    # Nobody is invited to send what will be refused, and HTTP/1.0 does not know the word.
    if request.version >= HttpVersion11 and (request.content_length or 0) <= BODY_BYTES_MAX:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written so far is no part of the answer.
        request.writer.output_size = 0
    return None
