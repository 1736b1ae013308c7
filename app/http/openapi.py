"""The OpenAPI 3.1 document and a page to read it, made from the routes and their types."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
from aiohttp import web

from app import VERSION
from app.http.pages import page
from app.http.problems import CONTENT_TYPE, STATUS, Problem

if TYPE_CHECKING:
    from app.http.routing import Route

_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")
_WHOLE = {"type": "integer", "minimum": 0}
# What a parameter means is the same wherever it stands.
_QUERY: dict[str, tuple[dict[str, Any], str]] = {
    "prefix": ({"type": "string"}, "Only keys that begin with this."),
    "kind": ({"enum": ["setting", "flag", "segment", "secret"]}, "Only entries of this kind."),
    "after": ({"type": "string"}, "Go on after this key: `next` of the page before."),
    "before": (_WHOLE, "Only older revisions than this: `next` of the page before."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}, "Size of a page."),
    "revision": (_WHOLE, "The state as of this revision, instead of now."),
    "min_revision": (_WHOLE, "Wait up to two seconds until this revision is served."),
    "dry_run": ({"type": "boolean", "default": False}, "Do all of it, and write nothing."),
    "from": (_WHOLE, "The earlier revision."),
    "to": (_WHOLE, "The later revision; now, if left out."),
    "against": ({"type": "string"}, "The environment to compare with, instead of revisions."),
}
_HEADERS = {
    "If-Match": 'The version that is expected, as an entity tag such as "3"; * for any.',
    "If-None-Match": "For a write * and nothing else: there must be none yet. For a read, tags.",
    "Last-Event-ID": "Go on after this event; without it, from now on.",
    "Idempotency-Key": "Repeats with the same key and body get the first answer, for a day.",
}
_TEXT = {"type": "string"}


class Documents:
    """Both, as bytes, made once."""

    def __init__(self, routes: Sequence["Route"]) -> None:
        self.json = msgspec.json.encode(document(routes))
        self.html = page(document(routes)).encode()


DOCUMENTS: web.AppKey[Documents] = web.AppKey("documents", Documents)


async def get_document(request: web.Request) -> web.Response:
    """Give this description of the API, as OpenAPI 3.1."""
    return web.Response(body=request.app[DOCUMENTS].json, content_type="application/json")


async def get_page(request: web.Request) -> web.Response:
    """Give the same description as a page to read."""
    return web.Response(
        body=request.app[DOCUMENTS].html,
        content_type="text/html",
        charset="utf-8",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


def document(routes: Sequence["Route"]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    spoken = {Problem, *(type_ for route in routes for type_ in (route.answers, route.body))}
    _, components = msgspec.json.schema_components(
        sorted(filter(_is_named, spoken), key=lambda type_: type_.__name__),
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flagstone",
            "version": VERSION,
            "description": "Configuration and feature flags, per environment and versioned.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def error_statuses(route: "Route") -> list[int]:
    """Return the statuses of problems that a route can answer with."""
    statuses = {400, 417, 500, 503}
    if route.scope is not None:
        statuses |= {401, 403}
    if "{" in route.path:
        statuses |= {404, 422}
    if route.method != "GET":
        statuses |= {408, 409, 412, 413, 415, 428}
    return sorted(statuses)


def _operation(route: "Route") -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": {str(status): _good(route, status) for status in route.statuses}
        | {str(s): _problem(s) for s in error_statuses(route) if s not in route.statuses},
    }
    if route.scope is not None:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-scope"] = " ".join(map(str, (route.scope, *route.also)))
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    return operation


def _parameters(route: "Route") -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        schema = {"type": "integer", "minimum": 0} if name == "revision" else _TEXT
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for name in route.query:
        schema, meaning = _QUERY[name]
        yield {"name": name, "in": "query", "schema": schema, "description": meaning}
    for name in route.conditions:
        yield {"name": name, "in": "header", "schema": _TEXT, "description": _HEADERS[name]}


def _good(route: "Route", status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status != HTTPStatus.NOT_MODIFIED:
        schema = _reference(route.answers) if _is_named(route.answers) else {}
        answer["content"] = {_content_type(route): {"schema": schema}}
    return answer


def _content_type(route: "Route") -> str:
    if route.media_type is not None:
        return route.media_type
    if route.path.startswith("/health"):
        return "application/health+json"
    if "Last-Event-ID" in route.conditions:
        return "text/event-stream"
    return "text/html" if route.answers is str else "application/json"


def _problem(status: int) -> dict[str, Any]:
    meanings = sorted(kind.__name__ for kind, code in STATUS.items() if code == status)
    return {
        "description": f"{HTTPStatus(status).phrase} {' '.join(meanings)}".strip(),
        "content": {CONTENT_TYPE: {"schema": _reference(Problem)}},
    }


def _reference(type_: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type_.__name__}"}


def _is_named(type_: type[Any] | None) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
