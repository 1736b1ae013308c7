"""The OpenAPI 3.1 document, made from the routes, their types, and the texts and examples."""

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc, getdoc
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from app import VERSION
from app.http.api_texts import ApiTexts, Example
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
# Headers of problems by status, and whether they are always present. A deleted entry has no ETag.
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": True},
    412: {"ETag": False},
    429: {"Retry-After": True},
    503: {"Retry-After": True},
}


def document(routes: Sequence["Route"], texts: ApiTexts) -> dict[str, Any]:
    """Return the OpenAPI document of the routes, in the order of the texts."""
    paths: dict[str, dict[str, Any]] = {}
    for operation_id, route in texts.in_order(_by_id(routes)):
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, operation_id, texts)
        if route.around is not None:
            paths[path]["options"] = _preflight(route, operation_id)
    problems = sorted({status for route in routes for status in error_statuses(route)})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flagstone",
            "version": VERSION,
            "description": texts.introduction,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": tag.name, "description": tag.description} for tag in texts.tags],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes, texts.properties),
            "responses": {
                str(status): _problem(status, texts.errors.get(status)) for status in problems
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _by_id(routes: Iterable["Route"]) -> dict[str, "Route"]:
    """Return the routes by operation ID: the name of the handler in camel case."""
    by_id: dict[str, Route] = {}
    for route in routes:
        first, *others = route.handler.__name__.split("_")
        operation_id = first + "".join(word.title() for word in others)
        by_id[operation_id + ("InEnvironment" if operation_id in by_id else "")] = route
    return by_id


def _schemas(routes: Iterable["Route"], descriptions: Mapping[str, str]) -> dict[str, Any]:
    types = (type_ for r in routes for type_ in (r.answers, r.body, r.failure))
    _, components = msgspec.json.schema_components(
        sorted(filter(_is_named, {Problem, *types}), key=lambda type_: type_.__name__),
        ref_template="#/components/schemas/{name}",
    )
    # Our classes of answers are views of classes of the domain. To a client they are the things.
    schemas = msgspec.json.decode(msgspec.json.encode(components).replace(b'View"', b'"'))
    for name, schema in schemas.items():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
        for property_, its_schema in schema.get("properties", {}).items():
            # Generators of clients refuse an array without items, and this default of a union.
            if its_schema.get("type") == "array":
                its_schema.setdefault("items", {})
            if its_schema.get("default") == {}:
                del its_schema["default"]
            text = descriptions.get(f"{name}.{property_}") or descriptions.get(property_)
            if text is not None:
                its_schema["description"] = text
    return dict(schemas)


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


def _operation(route: "Route", operation_id: str, texts: ApiTexts) -> dict[str, Any]:
    summary, _, description = (getdoc(route.handler) or "").partition("\n\n")
    place = " in an environment" if operation_id.endswith("InEnvironment") else ""
    examples = [example for example in texts.examples if example.operation == operation_id]
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [texts.tag_of(operation_id)],
        "summary": summary.rstrip(".") + place,
        "description": description,
        "parameters": list(_parameters(route, examples)),
        "responses": _responses(route, examples),
    }
    if route.scope is not None:
        scopes = [str(scope) for scope in (route.scope, *route.also)]
        operation["description"] = f"{description}\n\nScope: `{'` and `'.join(scopes)}`.".strip()
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-scope"] = " ".join(scopes)
    if route.body is not None:
        bodies = {
            type_: [
                (example.title, example.body)
                for example in examples
                if example.headers.get("Content-Type", route.takes[0]) == type_
            ]
            for type_ in route.takes
        }
        operation["requestBody"] = {
            "required": route.failure is None,
            "content": {
                type_: {"schema": _schema(route.body)} | _with_examples(given)
                for type_, given in bodies.items()
            },
        }
    return operation


def _with_examples(given: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the member of a media type that has these titles and values."""
    if len(given) > 1:
        return {"examples": {title_: {"value": value} for title_, value in given}}
    return {"example": given[0][1]} if given else {}


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
        "summary": f"Answer the preflight of {operation_id}",
        "parameters": list(_described("path", _PARAMETER.findall(route.path), PATH, {})),
        "responses": _with_cors({"204": success} | statuses),
    }


def _parameters(route: "Route", examples: Sequence[Example]) -> Iterator[dict[str, Any]]:
    # The first example that has a parameter shows it.
    query, headers = (
        ChainMap(*(e.query for e in examples)),
        ChainMap(*(e.headers for e in examples)),
    )
    yield from _described("path", _PARAMETER.findall(route.path), PATH, examples[0].path)
    yield from _described("query", route.query, QUERY, query)
    yield from _described("header", route.conditions, REQUEST_HEADERS, headers)


def _described(
    location: str,
    names: Iterable[str],
    known: Mapping[str, Described],
    examples: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    for name in names:
        if name not in known:
            raise LookupError(f"app/http/parameters.py: describe the {location} parameter {name}")
        schema, meaning = known[name]
        parameter: dict[str, Any] = {"name": name, "in": location, "schema": schema}
        parameter["description"] = meaning
        if location == "path":
            parameter["required"] = True
        if name in examples:
            parameter["example"] = examples[name]
        yield parameter


def _responses(route: "Route", examples: Sequence[Example]) -> dict[str, Any]:
    responses = {str(status): _success(route, status, examples) for status in route.statuses}
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


def _success(route: "Route", status: int, examples: Sequence[Example]) -> dict[str, Any]:
    # Only 201 has a Location. A dry run has no revision.
    names = [name for name in route.headers if name != "Location" or status == HTTPStatus.CREATED]
    is_sure = route.method == "GET" or status == HTTPStatus.CREATED
    answer: dict[str, Any] = {
        "description": title(status),
        "headers": _headers({name: is_sure and name != "Flagstone-Stale" for name in names}),
    }
    if status != HTTPStatus.NOT_MODIFIED:
        answer["content"] = {
            type_: {"schema": _schema(route.answers)}
            | _with_examples(
                [
                    (example.title, example.answer)
                    for example in examples
                    if (example.status, example.type or route.gives[0]) == (status, type_)
                ]
            )
            for type_ in route.gives
        }
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


def _problem(status: int, example: Example | None = None) -> dict[str, Any]:
    meanings = sorted(kind.__name__ for kind, code in STATUS.items() if code == status)
    return {
        "description": f"{title(status)} {' '.join(meanings)}".strip(),
        "headers": _headers(_PROBLEM_HEADERS.get(status, {})),
        "content": {
            CONTENT_TYPE: {"schema": _schema(Problem)}
            | ({} if example is None else {"example": example.answer})
        },
    }


def _headers(required: Mapping[str, bool]) -> dict[str, Any]:
    """Return these headers, given whether each is always present, and those of every answer."""
    headers: dict[str, Any] = {}
    for name, is_required in {**required, **dict.fromkeys(_COMMON_HEADERS, True)}.items():
        schema, meaning = RESPONSE_HEADERS[name]
        headers[name] = {"description": meaning, "required": is_required, "schema": schema}
    return headers


def _schema(type_: type[Any]) -> dict[str, str]:
    name = type_.__name__.removesuffix("View")
    return {"$ref": f"#/components/schemas/{name}"} if _is_named(type_) else {}


def _is_named(type_: type[Any] | None) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
