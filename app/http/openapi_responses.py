"""The responses of an operation in the OpenAPI document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from app.http.api_texts import Example
from app.http.parameters import RESPONSE_HEADERS
from app.http.problems import CONTENT_TYPE, Problem, title

if TYPE_CHECKING:
    from app.http.routing import Route

_COMMON_HEADERS = ("X-Request-ID", "Cache-Control")
# CORS headers of answers and of preflight answers.
_CORS_HEADERS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary")
# Query parameters with the name of something that may not exist.
_NAMES_OF_OTHERS = frozenset({"project", "scope"})
# Headers of problems by status, and whether they are always present. A deleted entry has no ETag.
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": True},
    412: {"ETag": False},
    429: {"Retry-After": True},
    503: {"Retry-After": True},
}
# Headers of answers that depend on the state of the instance.
_SOMETIMES = ("Flagstone-Stale", "Last-Modified")
# The statuses with a Location, and those without a body.
_LOCATED = (HTTPStatus.CREATED, HTTPStatus.SEE_OTHER)
_EMPTY = (HTTPStatus.SEE_OTHER, HTTPStatus.NOT_MODIFIED)


def responses(route: "Route", examples: Sequence[Example]) -> dict[str, Any]:
    """Return the responses of a route by status."""
    described = {str(status): _success(route, status, examples) for status in route.statuses}
    if route.accepted is not None:
        described["202"] = {
            "description": title(HTTPStatus.ACCEPTED),
            "headers": headers({"Location": True}),
            "content": content(route.accepted, ("application/json",), ()),
        }
    for status in error_statuses(route):
        success = described.get(str(status))
        if success is None:
            described[str(status)] = _error(route, status, examples)
        else:
            # The answer is either a report or a problem.
            success["content"] |= problem(status)["content"]
            success["headers"] |= headers(dict.fromkeys(_PROBLEM_HEADERS.get(status, {}), False))
    return with_cors(described) if route.has_cors else described


def error_statuses(route: "Route") -> list[int]:
    """Return the statuses of problems that a route can answer with."""
    statuses = {400, 417, 431, 500}
    if route.needs_token:
        statuses |= {401, 403, 429, 503}
    if "{" in route.path:
        statuses |= {404, 422}
    if "Flagd-Selector" in route.conditions:
        # It names an environment, as a path does.
        statuses |= {404}
    if _NAMES_OF_OTHERS & {*route.query}:
        statuses |= {404}
    if route.failure is not None:
        # On these routes every malformed request is 400, and nothing is written.
        return sorted(statuses - {422} | {401, 404, 408, 413, 415, 429, 501, 503})
    if route.method != "GET":
        statuses |= {408, 409, 412, 413}
    if route.writes:
        statuses |= {421}
    if route.body is not None:
        statuses |= {415, 422, 501}
    if "If-Match" in route.conditions:
        statuses |= {428}
    return sorted(statuses)


def _success(route: "Route", status: int, examples: Sequence[Example]) -> dict[str, Any]:
    # A dry run has no revision.
    names = [name for name in route.headers if name != "Location" or status in _LOCATED]
    is_sure = route.method == "GET" or status == HTTPStatus.CREATED
    sure = {name: is_sure and name not in _SOMETIMES for name in names}
    answer: dict[str, Any] = {
        "description": title(status),
        "headers": headers(sure),
    }
    if status not in _EMPTY:
        answers = _answers(examples, status, route.gives[0])
        answer["content"] = content(route.answers, route.gives, answers)
    return answer


def _error(route: "Route", status: int, examples: Sequence[Example]) -> dict[str, Any]:
    # Errors before any handler, and timeouts, are problems on every path.
    if route.failure is None or status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return {"$ref": f"#/components/responses/{status}"}
    described = problem(status)
    if status == HTTPStatus.EXPECTATION_FAILED:
        return described
    contents = described["content"] if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    failures = _answers(examples, status, "application/json")
    return described | {
        "content": contents | content(route.failure, ("application/json",), failures)
    }


def _answers(
    examples: Sequence[Example], status: int, media_type: str
) -> Iterator[tuple[str, str, Any]]:
    """Yield the answers with this status: media type, title and body."""
    for example in examples:
        if example.status == status:
            yield example.type or media_type, example.title, example.answer


def with_cors(described: dict[str, Any]) -> dict[str, Any]:
    """Add CORS headers to all answers but those to malformed heads."""
    for response in described.values():
        if "$ref" not in response:
            response["headers"] |= headers(dict.fromkeys(_CORS_HEADERS, False))
    return described


def problem(status: int, example: Example | None = None) -> dict[str, Any]:
    """Return the response with this status of an error. The title of the example explains it."""
    answers = () if example is None else ((CONTENT_TYPE, "", example.answer),)
    return {
        "description": title(status) + (f". {example.title}" if example else ""),
        "headers": headers(_PROBLEM_HEADERS.get(status, {})),
        "content": content(Problem, (CONTENT_TYPE,), answers),
    }


def headers(required: Mapping[str, bool]) -> dict[str, Any]:
    """Return these headers, given whether each is always present, and those of every answer."""
    described: dict[str, Any] = {}
    for name, is_required in {**required, **dict.fromkeys(_COMMON_HEADERS, True)}.items():
        if name not in RESPONSE_HEADERS:
            raise LookupError(f"app/http/parameters.json: describe the response header {name}")
        described[name] = {"required": is_required, **msgspec.to_builtins(RESPONSE_HEADERS[name])}
    return described


def content(
    type_: type[Any], media_types: Iterable[str], examples: Iterable[tuple[str, str, Any]]
) -> dict[str, Any]:
    """Return a body in each media type. An example has a media type, a title and a value."""
    schema: dict[str, str] = {}
    if is_struct(type_):
        schema["$ref"] = f"#/components/schemas/{type_.__name__.removesuffix('View')}"
    described: dict[str, Any] = {media_type: {"schema": schema} for media_type in media_types}
    for media_type, title_, value in examples:
        described[media_type].setdefault("examples", {})[title_] = {"value": value}
    for body in described.values():
        if len(body.get("examples", ())) == 1:
            (example,) = body.pop("examples").values()
            body["example"] = example["value"]
    return described


def is_struct(type_: type[Any] | None) -> TypeGuard[type[msgspec.Struct]]:
    """Return whether the type is a struct, which has a schema."""
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
