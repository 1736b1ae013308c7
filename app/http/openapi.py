"""The OpenAPI 3.1 document, made from the routes, their types, and the texts and examples."""

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc, getdoc
from typing import TYPE_CHECKING, Any

import msgspec

from app import VERSION
from app.http.api_texts import ApiTexts, Example
from app.http.openapi_responses import (
    content,
    error_statuses,
    headers,
    is_struct,
    problem,
    responses,
    with_cors,
)
from app.http.parameters import PATH, QUERY, REQUEST_HEADERS, Parameter
from app.http.problems import Problem

if TYPE_CHECKING:
    from app.http.routing import Route

_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")
_PREFLIGHT_HEADERS = (
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
)


def document(routes: Sequence["Route"], texts: ApiTexts) -> dict[str, Any]:
    """Return the OpenAPI document of the routes, in the order of the texts."""
    paths: dict[str, dict[str, Any]] = {}
    for operation_id, route in texts.in_order(_by_id(routes)):
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, operation_id, texts)
        if route.has_cors:
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
                str(status): problem(status, texts.errors.get(status)) for status in problems
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
        sorted(filter(is_struct, {Problem, *types}), key=lambda type_: type_.__name__),
        ref_template="#/components/schemas/{name}",
    )
    # Our classes of answers are views of classes of the domain. To a client they are the things.
    schemas = msgspec.json.decode(msgspec.json.encode(components).replace(b'View"', b'"'))
    for name, schema in schemas.items():
        schema["description"] = descriptions.get(name) or cleandoc(schema.get("description", ""))
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


def _operation(route: "Route", operation_id: str, texts: ApiTexts) -> dict[str, Any]:
    summary, _, description = (getdoc(route.handler) or "").partition("\n\n")
    place = " in an environment" if operation_id.endswith("InEnvironment") else ""
    examples = [example for example in texts.examples if example.operation == operation_id]
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [texts.tag_of[operation_id]],
        "summary": summary.rstrip(".") + place,
        "description": description,
        "parameters": list(_parameters(route, examples)),
        "responses": responses(route, examples),
    }
    if route.needs_token:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
    if route.scope is not None:
        scopes = [str(scope) for scope in (route.scope, *route.also)]
        operation["description"] = f"{description}\n\nScope: `{'` and `'.join(scopes)}`.".strip()
        operation["x-scope"] = " ".join(scopes)
    if route.body is not None:
        bodies = (
            (example.headers.get("Content-Type", route.takes[0]), example.title, example.body)
            for example in examples
        )
        operation["requestBody"] = {
            "required": route.failure is None,
            "content": content(route.body, route.takes, bodies),
        }
    return operation


def _preflight(route: "Route", operation_id: str) -> dict[str, Any]:
    """Return the operation of a CORS preflight."""
    errors = {str(status): problem(status) for status in (400, 417, 500)}
    errors["431"] = {"$ref": "#/components/responses/431"}
    success = {
        "description": "No Content",
        "headers": headers(dict.fromkeys(_PREFLIGHT_HEADERS, True)),
    }
    return {
        "operationId": f"{operation_id}Preflight",
        "tags": ["CORS"],
        "summary": f"Answer the preflight of {operation_id}",
        "parameters": list(_described("path", _PARAMETER.findall(route.path), PATH, {})),
        "responses": with_cors({"204": success} | errors),
    }


def _parameters(route: "Route", examples: Sequence[Example]) -> Iterator[dict[str, Any]]:
    # The first example that has a parameter shows it.
    query = ChainMap(*(example.query for example in examples))
    conditions = ChainMap(*(example.headers for example in examples))
    yield from _described("path", _PARAMETER.findall(route.path), PATH, examples[0].path)
    for parameter in _described("query", route.query, QUERY, query):
        yield parameter | ({"required": True} if parameter["name"] in route.required else {})
    yield from _described("header", route.conditions, REQUEST_HEADERS, conditions)


def _described(
    location: str,
    names: Iterable[str],
    known: Mapping[str, Parameter],
    examples: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    for name in names:
        if name not in known:
            raise LookupError(f"app/http/parameters.json: describe the {location} parameter {name}")
        parameter = {"name": name, "in": location, **msgspec.to_builtins(known[name])}
        if location == "path":
            parameter["required"] = True
        if name in examples:
            parameter["example"] = examples[name]
        yield parameter
