"""The OpenAPI 3.1 document, made from the routes and their types."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc, getdoc
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from app import VERSION
from app.http.parameters import PATH, QUERY, REQUEST_HEADERS, RESPONSE_HEADERS, Described
from app.http.problems import CONTENT_TYPE, STATUS, Problem, title

if TYPE_CHECKING:
    from app.http.routing import Route

_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")
_COMMON_HEADERS = ("X-Request-ID", "Cache-Control")
# CORS headers of answers and of preflight answers.
_CORS_HEADERS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary")
_PREFLIGHT_HEADERS = (
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
)
_DESCRIPTION = """\
Configuration and feature flags, versioned by environment.

Send a token as `Authorization: Bearer TOKEN` or as `X-API-Key: TOKEN`. `x-scope` names the scopes
that an operation needs. HEAD answers every GET without its body. A method that a path does not
have gets 405, with the path's methods in `Allow`.
"""
# Headers of problems by status, and whether they are always present. A deleted entry has no ETag.
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": True},
    412: {"ETag": False},
    429: {"Retry-After": True},
    503: {"Retry-After": True},
}


def document(routes: Sequence["Route"]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    types = (type_ for r in routes for type_ in (r.answers, r.body, r.failure))
    _, components = msgspec.json.schema_components(
        sorted(filter(_is_named, {Problem, *types}), key=lambda type_: type_.__name__),
        ref_template="#/components/schemas/{name}",
    )
    for component in components.values():
        if "description" in component:
            component["description"] = cleandoc(component["description"])
    paths: dict[str, dict[str, Any]] = {}
    ids: set[str] = set()
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        operation_id = _camel_case(route.handler.__name__)
        if operation_id in ids:
            operation_id += "InEnvironment"
        ids.add(operation_id)
        operation = _operation(route, operation_id)
        paths.setdefault(path, {})[route.method.lower()] = operation
        if route.around is not None:
            paths[path]["options"] = _preflight(route, operation_id)
    problems = {status for route in routes for status in error_statuses(route)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flagstone",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys([*(r.tag for r in routes), "CORS"])],
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


def add_examples(described: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Put the examples into a document.

    The key is the name of the schema, or for bodies without one the operation ID and media type.
    """
    for operations in described["paths"].values():
        for operation in operations.values():
            bodies = (operation.get("requestBody", {}), *operation["responses"].values())
            for body in bodies:
                for media_type, content in body.get("content", {}).items():
                    name = content["schema"].get("$ref", "").rpartition("/")[2]
                    of_operation = examples.get(operation["operationId"], {})
                    example = examples.get(name) if name else of_operation.get(media_type)
                    if example is not None:
                        content["example"] = example


def error_statuses(route: "Route") -> list[int]:
    """Return the statuses of problems that a route can answer with."""
    statuses = {400, 417, 431, 500}
    if route.scope is not None:
        statuses |= {401, 403, 429, 503}
    if "{" in route.path:
        statuses |= {404, 422}
    if route.failure is not None:
        # On OFREP routes every malformed request is 400, and nothing is written.
        return sorted(statuses - {422} | {401, 404, 408, 413, 415, 429, 501, 503})
    if route.method != "GET":
        statuses |= {408, 409, 412, 413}
    if route.body is not None:
        statuses |= {415, 422, 501}
    if "If-Match" in route.conditions:
        statuses |= {428}
    return sorted(statuses)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def _operation(route: "Route", operation_id: str) -> dict[str, Any]:
    summary, _, description = (getdoc(route.handler) or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [route.tag],
        "summary": summary.rstrip("."),
        "description": description,
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
    """Return the operation of a CORS preflight."""
    statuses = {str(status): _problem(status) for status in (400, 417, 500)}
    statuses["431"] = {"$ref": "#/components/responses/431"}
    success = {
        "description": "No Content",
        "headers": _headers(dict.fromkeys(_PREFLIGHT_HEADERS, True)),
    }
    return {
        "operationId": f"{operation_id}Preflight",
        "tags": ["CORS"],
        "summary": "Answer a CORS preflight",
        "parameters": list(_described("path", _PARAMETER.findall(route.path), PATH)),
        "responses": _with_cors({"204": success} | statuses),
    }


def _parameters(route: "Route") -> Iterable[dict[str, Any]]:
    yield from _described("path", _PARAMETER.findall(route.path), PATH)
    yield from _described("query", route.query, QUERY)
    yield from _described("header", route.conditions, REQUEST_HEADERS)


def _described(
    location: str, names: Iterable[str], known: Mapping[str, Described]
) -> Iterable[dict[str, Any]]:
    for name in names:
        schema, meaning = known[name]
        parameter = {"name": name, "in": location, "schema": schema, "description": meaning}
        yield parameter | ({"required": True} if location == "path" else {})


def _responses(route: "Route") -> dict[str, Any]:
    responses = {str(status): _success(route, status) for status in route.statuses}
    for status in error_statuses(route):
        success = responses.get(str(status))
        if success is None:
            responses[str(status)] = _error(route, status)
        else:
            # The answer is either a report or a problem.
            success["content"] |= _problem(status)["content"]
            success["headers"] |= _headers(dict.fromkeys(_PROBLEM_HEADERS.get(status, {}), False))
    return responses if route.around is None else _with_cors(responses)


def _with_cors(responses: dict[str, Any]) -> dict[str, Any]:
    """Add CORS headers to all answers but those to malformed heads."""
    for response in responses.values():
        if "$ref" not in response:
            response["headers"] |= _headers(dict.fromkeys(_CORS_HEADERS, False))
    return responses


def _success(route: "Route", status: int) -> dict[str, Any]:
    # Only 201 has a Location. A dry run has no revision.
    names = [name for name in route.headers if name != "Location" or status == HTTPStatus.CREATED]
    is_sure = route.method == "GET" or status == HTTPStatus.CREATED
    answer: dict[str, Any] = {
        "description": title(status),
        "headers": _headers({name: is_sure and name != "Flagstone-Stale" for name in names}),
    }
    if status != HTTPStatus.NOT_MODIFIED:
        answer["content"] = {type_: {"schema": _schema(route.answers)} for type_ in route.gives}
    return answer


def _error(route: "Route", status: int) -> dict[str, Any]:
    # Errors before any handler, and timeouts, are problems on every path.
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
        "headers": _headers(_PROBLEM_HEADERS.get(status, {})),
        "content": {CONTENT_TYPE: {"schema": _schema(Problem)}},
    }


def _headers(required: Mapping[str, bool]) -> dict[str, Any]:
    """Return these headers, given whether each is always present, and those of every answer."""
    headers: dict[str, Any] = {}
    for name, is_required in {**required, **dict.fromkeys(_COMMON_HEADERS, True)}.items():
        schema, meaning = RESPONSE_HEADERS[name]
        headers[name] = {"description": meaning, "required": is_required, "schema": schema}
    return headers


def _schema(type_: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type_.__name__}"} if _is_named(type_) else {}


def _is_named(type_: type[Any] | None) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
