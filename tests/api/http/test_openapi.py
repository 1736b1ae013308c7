"""The document is the API: every route, parameter, status and shape, and nothing else.

`tests/conftest.py` checks after the session that each answer had a documented status and documented
headers. `test_generated_requests.py` sends requests that are generated from the document.
"""

import re
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web
from schemathesis.specs.openapi.definitions import OPENAPI_31

from app.access.events import AccessEvent
from app.configuration.changes.models import Kind
from app.http.api_texts import ApiTexts
from app.http.documentation import VIEWER_PATH
from app.http.openapi import document
from app.http.parameters import PATH, QUERY
from app.http.problems import STATUS
from app.http.routing import Route
from app.http.wire import PAGE_SIZE, PAGE_SIZE_MAX
from app.names import ENVIRONMENT_PATTERN, KEY_LENGTH_MAX, KEY_PATTERN
from app.server.routes import API_TEXTS, ROUTES
from tests.conftest import Service
from tests.factories import filled

LOCAL = "/v1/environments/local"
SHARED = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary")


@pytest.fixture
async def described(service: Service) -> dict[str, Any]:
    answer = await service.stranger.get("/openapi.json")
    assert answer.content_type == "application/json"
    document: dict[str, Any] = await answer.json()
    return document


def _validator(described: dict[str, Any], name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    )


async def test_every_route_is_in_it_with_its_scope(described: dict[str, Any]) -> None:
    for route in ROUTES:
        path = re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", r"{\1}", route.path)
        operation = described["paths"][path][route.method.lower()]
        assert operation["summary"]
        scopes = [str(needed) for needed in (route.scope, *route.also) if needed is not None]
        assert operation.get("x-scope", "").split() == scopes
        assert ("security" in operation) is route.needs_token
        assert ("requestBody" in operation) is (route.body is not None)
        if route.has_cors:
            assert "security" not in described["paths"][path]["options"]
    count = sum(len(operations) for operations in described["paths"].values())
    preflights = sum(route.has_cors for route in ROUTES)
    assert count == len(ROUTES) + preflights


async def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    waiting: list[Any] = [described]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            _, _, kind, name = node.get("$ref", "#/components/schemas/Problem").split("/")
            assert name in described["components"][kind]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


async def test_operations_are_named_once(described: dict[str, Any]) -> None:
    names = [
        o["operationId"] for operations in described["paths"].values() for o in operations.values()
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("route", [route for route in ROUTES if route.headers])
async def test_documented_answers_have_the_headers_of_their_route(
    described: dict[str, Any], route: Route
) -> None:
    path = re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", r"{\1}", route.path)
    responses = described["paths"][path][route.method.lower()]["responses"]

    documented = set().union(*(responses[str(status)]["headers"] for status in route.statuses))

    shared = SHARED if route.has_cors else ()
    assert documented == {*route.headers, *shared, "X-Request-ID", "Cache-Control"}


def test_parameters_have_the_limits_of_the_service() -> None:
    key = {"type": "string", "pattern": KEY_PATTERN, "maxLength": KEY_LENGTH_MAX}
    limit = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}

    assert PATH["key"].schema == key
    assert PATH["environment"].schema["pattern"] == ENVIRONMENT_PATTERN
    assert QUERY["limit"].schema == limit
    assert QUERY["kind"].schema["enum"] == list(Kind)
    assert QUERY["event"].schema["enum"] == list(AccessEvent)


async def test_every_error_has_a_status_in_some_route(described: dict[str, Any]) -> None:
    documented = {
        int(status)
        for operations in described["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }

    assert set(map(int, STATUS.values())) <= documented


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/environments", "EnvironmentList"),
        (LOCAL, "Environment"),
        (LOCAL + "/configurations", "ConfigurationPage"),
        (LOCAL + "/configurations/k", "Configuration"),
        (LOCAL + "/configurations/k?revision=1", "Configuration"),
        (LOCAL + "/configurations/k/history", "KeyHistory"),
        (LOCAL + "/changes", "ChangeSetPage"),
        (LOCAL + "/changes/1", "ChangeSet"),
        (LOCAL + "/diff?from=0", "Difference"),
        (LOCAL + "/configurations/nothing", "Problem"),
        (LOCAL + "/configurations?limit=x", "Problem"),
        ("/health", "HealthReport"),
    ],
)
async def test_answers_have_the_shape_that_is_promised(
    service: Service, described: dict[str, Any], path: str, shape: str
) -> None:
    """Some bodies are joined from bytes, so only this test checks their type."""
    await service.client.put(
        LOCAL + "/configurations/k",
        json={"value": {"a": [1]}, "schema": {"type": "object"}},
        headers={"If-None-Match": "*"},
    )

    answer = await service.client.get(path)

    body = await answer.json(content_type=None)
    errors = [error.message for error in _validator(described, shape).iter_errors(body)]
    schema = described["components"]["schemas"][shape]
    assert errors == []
    assert set(body) <= set(schema["properties"])


@pytest.mark.parametrize(
    "route",
    # OFREP's clients may send members that OFREP does not define yet.
    [route for route in ROUTES if route.path.startswith("/v1") and route.failure is None],
)
async def test_route_accepts_exactly_its_documented_parameters(
    service: Service, route: Route
) -> None:
    refused = await service.client.request(
        route.method,
        filled(route.path),
        params={"nonsense": "1"},
        json={},
        headers={"If-Match": "*"},
    )

    problem = await refused.json(content_type=None)
    names = ", ".join(sorted(route.query)) or "nothing"
    assert problem["code"] == "parameter_unknown"
    assert problem["errors"] == [{"field": "query", "rule": f"must only have {names}"}]


@pytest.mark.parametrize("path", ["/docs", "/v1/environments", "/health", "/openapi.json"])
async def test_head_answers_as_get_without_body(service: Service, path: str) -> None:
    get, head = await service.client.get(path), await service.client.head(path)

    assert head.status == get.status
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert await head.read() == b""


async def test_docs_page_has_a_strict_policy(service: Service) -> None:
    answer = await service.stranger.get("/docs")

    text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert answer.content_type == "text/html"
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    # Without scripts there is still a link.
    assert '<a href="openapi.json">' in text
    assert re.findall("<script([^>]*)>([^<]*)</script>", text) == [
        (' type="module" src="docs/openapi-explorer.js"', "")
    ]
    assert "http" not in text


async def test_docs_script_is_compressed_and_revalidated(service: Service) -> None:
    plain = await service.stranger.get(VIEWER_PATH, headers={"Accept-Encoding": "identity"})
    zipped = await service.stranger.get(VIEWER_PATH, headers={"Accept-Encoding": "gzip"})
    again = await service.stranger.get(
        VIEWER_PATH,
        headers={"Accept-Encoding": "gzip", "If-None-Match": zipped.headers["ETag"]},
    )
    other = await service.stranger.get(
        VIEWER_PATH,
        headers={"Accept-Encoding": "identity", "If-None-Match": zipped.headers["ETag"]},
    )

    assert await plain.read() == await zipped.read()
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert int(zipped.headers["Content-Length"]) < 300_000
    assert plain.headers["Cache-Control"] == "no-cache"
    assert (again.status, await again.read()) == (304, b"")
    assert (other.status, other.headers.get("Content-Encoding")) == (200, None)


async def test_operations_have_tag_and_short_summary(described: dict[str, Any]) -> None:
    tags = {tag["name"]: tag["description"] for tag in described["tags"]}
    assert all(tags.values())
    summaries = []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert set(operation["tags"]) <= tags.keys()
            assert 0 < len(operation["summary"]) <= 60, (method, path, operation["summary"])
            if method != "options":
                summaries.append(operation["summary"])
    assert len(summaries) == len(set(summaries))


async def test_operations_have_examples_of_bodies(described: dict[str, Any]) -> None:
    for operations in described["paths"].values():
        for method, operation in operations.items():
            if method == "options":
                continue
            good = [operation["responses"].get(status, {}) for status in ("200", "201")]
            for bodies in ([operation.get("requestBody", good[0])], good):
                contents = [c for body in bodies for c in body.get("content", {}).values()]
                assert any("example" in content or "examples" in content for content in contents), (
                    f"app/server/api/: add a body and an answer to an example of "
                    f"{operation['operationId']}"
                )


async def test_examples_match_their_schema(described: dict[str, Any]) -> None:
    contents = [
        content
        for operations in described["paths"].values()
        for operation in operations.values()
        for body in (operation.get("requestBody", {}), *operation["responses"].values())
        for content in body.get("content", {}).values()
        if content["schema"]
    ]

    for content in contents:
        name = content["schema"]["$ref"].rpartition("/")[2]
        examples = [example["value"] for example in content.get("examples", {}).values()]
        for example in [*examples, *([content["example"]] if "example" in content else [])]:
            _validator(described, name).validate(example)
            assert set(example) <= set(described["components"]["schemas"][name]["properties"])


async def test_schemas_and_properties_have_descriptions(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    texts = {name: schema["description"] for name, schema in schemas.items()}
    for name, schema in schemas.items():
        for member, its_schema in schema.get("properties", {}).items():
            texts[f"{name}.{member}"] = its_schema.get("description")
    names = {*texts, *(name.rpartition(".")[2] for name in texts)}

    missing = [name for name, text in texts.items() if not text]
    assert missing == [], "describe these in app/server/api/properties.json"
    unused = ApiTexts(API_TEXTS).properties.keys() - names
    assert unused == set(), "delete these from app/server/api/properties.json"


async def test_document_is_valid_openapi(described: dict[str, Any]) -> None:
    rules = jsonschema_rs.validator_for(OPENAPI_31)

    assert [error.message for error in rules.iter_errors(described)] == []
    # The schema of OpenAPI 3.1 leaves the schemas of bodies to JSON Schema 2020-12.
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_route_without_example_is_refused_with_advice() -> None:
    async def list_shops(request: web.Request) -> web.Response:
        return web.Response(text=request.path)

    route = Route("GET", "/v1/shops", list_shops, None, str)

    with pytest.raises(LookupError, match="api: add an example of listShops to the file of its"):
        document([*ROUTES, route], ApiTexts(API_TEXTS))


@pytest.mark.parametrize("member", ["query", "conditions", "headers"])
def test_unknown_parameter_is_refused_with_advice(member: str) -> None:
    changed = [replace(ROUTES[0], **{member: ("shop",)}), *ROUTES[1:]]  # type: ignore[arg-type] # by name

    with pytest.raises(LookupError, match=r"parameters\.json: describe the [a-z ]+ shop"):
        document(changed, ApiTexts(API_TEXTS))


async def test_yaml_example_can_be_imported_by_each_name(
    service: Service, described: dict[str, Any]
) -> None:
    path = "/v1/environments/{environment}/import"
    content = described["paths"][path]["post"]["requestBody"]["content"]

    for media_type in [name for name in content if name.endswith("yaml")]:
        answer = await service.client.post(
            LOCAL + "/import?dry_run=true",
            data=content["application/yaml"]["example"],
            headers={"Content-Type": media_type},
        )
        assert (answer.status, len((await answer.json())["created"])) == (200, 1)
