"""The OpenAPI 3.1 document and a page to read it, made from the routes and their types."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
from aiohttp import web

from app import VERSION
from app.http.pages import page
from app.http.parameters import PATH, QUERY, REQUEST_HEADERS, RESPONSE_HEADERS, Described
from app.http.problems import CONTENT_TYPE, STATUS, Problem, title

if TYPE_CHECKING:
    from app.http.routing import Route

_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")
_OF_EVERY_ANSWER = ("X-Request-ID", "Cache-Control")
# Where pages of other origins may ask: of every answer there, and of the one to a preflight.
_OF_SHARED = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary")
_OF_PREFLIGHTS = (
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
)
# Of a problem, by its status, and whether it is always there: an entry that is gone has no version.
_OF_PROBLEMS = {
    401: {"WWW-Authenticate": True},
    412: {"ETag": False},
    429: {"Retry-After": True},
    503: {"Retry-After": True},
}


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
    shapes = (each for r in routes for each in (r.answers, r.body, r.failure))
    spoken = {Problem, *shapes}
    _, components = msgspec.json.schema_components(
        sorted(filter(_is_named, spoken), key=lambda type_: type_.__name__),
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        operation = _operation(route)
        if any(operation["operationId"] in ids for ids in _ids(paths)):
            operation["operationId"] += "_in_environment"
        paths.setdefault(path, {})[route.method.lower()] = operation
        if route.method == "GET":
            paths[path]["head"] = operation | {
                "operationId": operation["operationId"] + "_head",
                "summary": "As GET, without the body.",
            }
        if route.around is not None:
            paths[path]["options"] = _preflight(route, operation["operationId"])
    problems = {status for route in routes for status in error_statuses(route)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flagstone",
            "version": VERSION,
            "description": "Configuration and feature flags, per environment and versioned. "
            "A method that a path does not have gets 405, with those that it has in Allow.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _problem(status) for status in sorted(problems)},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def error_statuses(route: "Route") -> list[int]:
    """Return the statuses of problems that a route can answer with."""
    statuses = {400, 417, 431, 500}
    if route.scope is not None:
        statuses |= {401, 403, 429, 503}
    if "{" in route.path:
        statuses |= {404, 422}
    if route.failure is not None:
        # What is not understood is 400 there, and nothing is written.
        return sorted(statuses - {422} | {401, 404, 408, 413, 415, 429, 501, 503})
    if route.method != "GET":
        statuses |= {408, 409, 412, 413}
    if route.body is not None:
        statuses |= {415, 422, 501}
    if "If-Match" in route.conditions:
        statuses |= {428}
    return sorted(statuses)


def _operation(route: "Route") -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    if route.scope is not None:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-scope"] = " ".join(map(str, (route.scope, *route.also)))
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.failure is None,
            "content": {type_: {"schema": _schema(route.body)} for type_ in route.takes},
        }
    return operation


def _preflight(route: "Route", operation_id: str) -> dict[str, Any]:
    """Return the operation by which a browser asks what a page may send."""
    statuses = {str(status): _problem(status) for status in (400, 417, 500)}
    statuses["431"] = {"$ref": "#/components/responses/431"}
    made = {"description": "No Content", "headers": _headers(dict.fromkeys(_OF_PREFLIGHTS, True))}
    return {
        "operationId": f"{operation_id}_preflight",
        "summary": "What a page of another origin may send.",
        "parameters": list(_described("path", _PARAMETER.findall(route.path), PATH)),
        "responses": _shared({"204": made} | statuses),
    }


def _ids(paths: Mapping[str, Mapping[str, Any]]) -> Iterable[set[str]]:
    for operations in paths.values():
        yield {operation["operationId"] for operation in operations.values()}


def _parameters(route: "Route") -> Iterable[dict[str, Any]]:
    yield from _described("path", _PARAMETER.findall(route.path), PATH)
    yield from _described("query", route.query, QUERY)
    yield from _described("header", route.conditions, REQUEST_HEADERS)


def _described(
    place: str, names: Iterable[str], known: Mapping[str, Described]
) -> Iterable[dict[str, Any]]:
    for name in names:
        schema, meaning = known[name]
        parameter = {"name": name, "in": place, "schema": schema, "description": meaning}
        yield parameter | ({"required": True} if place == "path" else {})


def _responses(route: "Route") -> dict[str, Any]:
    responses = {str(status): _good(route, status) for status in route.statuses}
    for status in error_statuses(route):
        good = responses.get(str(status))
        if good is None:
            responses[str(status)] = _error(route, status)
        else:
            # The same status for a report that is bad and for none at all.
            good["content"] |= _problem(status)["content"]
            good["headers"] |= _headers(dict.fromkeys(_OF_PROBLEMS.get(status, {}), False))
    return responses if route.around is None else _shared(responses)


def _shared(responses: dict[str, Any]) -> dict[str, Any]:
    """Return answers that pages of other origins may read, all but the one to an unread head."""
    for response in responses.values():
        if "$ref" not in response:
            response["headers"] |= _headers(dict.fromkeys(_OF_SHARED, False))
    return responses


def _good(route: "Route", status: int) -> dict[str, Any]:
    # What is not made has no place, and what a dry run has not written has no moment.
    names = [name for name in route.headers if name != "Location" or status == HTTPStatus.CREATED]
    is_sure = route.method == "GET" or status == HTTPStatus.CREATED
    answer: dict[str, Any] = {
        "description": title(status),
        "headers": _headers({name: is_sure and name != "Flagstone-Stale" for name in names}),
    }
    if status != HTTPStatus.NOT_MODIFIED:
        content: dict[str, Any] = {"schema": _schema(route.answers)}
        if route.example is not None and status == route.statuses[0]:
            content["example"] = msgspec.to_builtins(route.example)
        answer["content"] = {type_: dict(content) for type_ in route.gives}
    return answer


def _error(route: "Route", status: int) -> dict[str, Any]:
    # What is refused before any handler has the one shape everywhere, and so has what is too late.
    if route.failure is None or status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return {"$ref": f"#/components/responses/{status}"}
    problem = _problem(status)
    if status == HTTPStatus.EXPECTATION_FAILED:
        return problem
    content = problem["content"] if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    failure = {"application/json": {"schema": _schema(route.failure)}}
    return problem | {"content": content | failure}


def _problem(status: int) -> dict[str, Any]:
    meanings = sorted(kind.__name__ for kind, code in STATUS.items() if code == status)
    return {
        "description": f"{title(status)} {' '.join(meanings)}".strip(),
        "headers": _headers(_OF_PROBLEMS.get(status, {})),
        "content": {CONTENT_TYPE: {"schema": _schema(Problem)}},
    }


def _headers(required: Mapping[str, bool]) -> dict[str, Any]:
    """Return the headers by name, given whether each is always there, and those of every answer."""
    found: dict[str, Any] = {}
    for name, is_required in {**required, **dict.fromkeys(_OF_EVERY_ANSWER, True)}.items():
        schema, meaning = RESPONSE_HEADERS[name]
        found[name] = {"description": meaning, "required": is_required, "schema": schema}
    return found


def _schema(type_: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type_.__name__}"} if _is_named(type_) else {}


def _is_named(type_: type[Any] | None) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
