"""One server span per request, with OpenTelemetry's conventions for HTTP and for feature flags.

A request on the fast path gets its span afterwards, since nothing happens inside it. So both ways
have the same spans, and the fast path does not know of them. No span has a query, a token, a key
of an entry or a ticket: `url.path` is the pattern of the route.
"""

import time
from collections.abc import Mapping

import msgspec
from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from app.http.encoded import EncodedResponse
from app.http.frame import NO_ROUTE, route_of
from app.http.hot_request import HotRequest
from app.http.keys import CURRENT_SPAN, REQUEST_ID, Handler
from app.http.request_log import RequestLogger

_SPAN: web.RequestKey[Span] = web.RequestKey("span", Span)
# Probes would be most of the spans of a small installation.
_PROBES = "/health"
_METHODS = frozenset(hdrs.METH_ALL)
_OTHER_METHOD = "_OTHER"
_TRACEPARENT = "traceparent"
# The path of an unknown route may be anything.
_REDACTED = "REDACTED"
_EVALUATION = "/evaluate/flags/{key}"
_EVALUATED = frozenset({200, 400, 404})


class _Evaluation(msgspec.Struct, rename="camel"):
    """The part of an OFREP answer that is sent. The value is not."""

    key: str
    reason: str = "ERROR"
    variant: str | None = None
    error_code: str | None = None


_evaluation = msgspec.json.Decoder(_Evaluation)


class RequestSpans:
    """Starts the span of each request and ends it when the request is logged."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def around(self, handle: Handler) -> Handler:
        """Wrap the application: its statements are children of the request's span."""

        async def handle_traced(request: web.Request) -> web.StreamResponse:
            span = self._start(request)
            if span is None:
                return await handle(request)
            request[_SPAN] = span
            outer = CURRENT_SPAN.set(span)
            try:
                response = await handle(request)
            except BaseException as error:
                _describe(span, request)
                span.set_attribute("error.type", type(error).__name__)
                span.end()
                raise
            finally:
                CURRENT_SPAN.reset(outer)
            if request.transport is None:
                # The client has left, such as that of a stream. aiohttp may log nothing.
                self.finish(request, response, 0)
            return response

        return handle_traced

    def after(self, logger: RequestLogger) -> AbstractAccessLogger:
        """Return a logger that ends the span of each request that it has logged."""
        return _EndingLogger(logger, self)

    def finish(self, request: web.BaseRequest, response: web.StreamResponse, time_: float) -> None:
        """End the span. For the fast path, record it now."""
        if isinstance(request, HotRequest):
            span = self._start(request, time.time_ns() - int(time_ * 1e9))
        else:
            span = request.get(_SPAN)
        if span is None or not span.is_recording() or not isinstance(request, web.Request):
            return
        status = response.status
        route = _describe(span, request)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        is_evaluation = route.endswith(_EVALUATION) and status in _EVALUATED
        if is_evaluation and isinstance(response, EncodedResponse):
            _add_evaluation(span, b"".join(response.parts), request.match_info)
        span.end()

    def _start(self, request: web.BaseRequest, start_time: int | None = None) -> Span | None:
        """Return a span, or None if it is not sampled."""
        if request.raw_path.startswith(_PROBES):
            return None
        parent = Context()
        if _TRACEPARENT in request.headers:
            parent = self._propagator.extract(request.headers, parent)
        method = request.method if request.method in _METHODS else _OTHER_METHOD
        attributes = {"http.request.method": method}
        span = self._tracer.start_span(
            method, parent, SpanKind.SERVER, attributes, start_time=start_time
        )
        return span if span.is_recording() else None


class _EndingLogger(AbstractAccessLogger):
    def __init__(self, logger: RequestLogger, spans: RequestSpans) -> None:
        super().__init__(logger.logger, "")
        self._logger = logger
        self._spans = spans

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self._logger.log(request, response, time)
        self._spans.finish(request, response, time)


def _describe(span: Span, request: web.Request) -> str:
    """Set the name and the attributes of the request, and return its route."""
    route = route_of(request)
    method = request.method if request.method in _METHODS else "HTTP"
    span.update_name(method if route == NO_ROUTE else f"{method} {route}")
    version = request.version
    span.set_attributes(
        {
            "url.scheme": request.scheme,
            "url.path": _REDACTED if route == NO_ROUTE else route,
            "network.protocol.version": f"{version.major}.{version.minor}",
            "flagstone.request_id": request.get(REQUEST_ID, ""),
            **_server(request.headers.get(hdrs.HOST, "")),
        }
    )
    if route != NO_ROUTE:
        span.set_attribute("http.route", route)
    return route


def _server(host: str) -> Mapping[str, str | int]:
    try:
        url = URL(f"http://{host}")
        # yarl decodes an internationalized name here.
        name = url.host or ""
    except ValueError:
        return {}
    return {"server.address": name, "server.port": url.port or 80}


def _add_evaluation(span: Span, body: bytes, match: Mapping[str, str]) -> None:
    evaluation = _evaluation.decode(body)
    attributes = {
        "feature_flag.key": evaluation.key,
        "feature_flag.provider.name": "flagstone",
        "feature_flag.result.reason": evaluation.reason.lower(),
    }
    if evaluation.variant:
        attributes["feature_flag.result.variant"] = evaluation.variant
    if evaluation.error_code:
        attributes["error.type"] = evaluation.error_code.lower()
    if "environment" in match:
        attributes["feature_flag.set.id"] = match["environment"]
    span.add_event("feature_flag.evaluation", attributes)
