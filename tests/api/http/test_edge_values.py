"""Times and numbers at the edge of their range never cause a 500.

The parameters come from the route table, so a new route is tested automatically.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from msgspec import inspect
from yarl import URL

from app.access.models import Scope
from app.configuration.snapshots.follower import Follower
from app.http.parameters import QUERY
from app.http.routing import Route
from app.server.routes import ROUTES
from tests.api.flags.ofrep.conftest import SWITCH
from tests.conftest import Service

TIMES = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00-12:00"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59+14:00"),
    *("2026-06-30T23:59:60Z", "9999-12-31T23:59:60Z", "0000-01-01T00:00:00Z"),
    *("10000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+24:00"),
    *("1969-12-31T23:59:59.9999999999Z", "2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00"),
)
NUMBERS = (
    *(-(2**63) - 1, -(2**53), -1, 0, 1, 100, 101, 501, 2**31 - 1, 2**31, 2**53 - 1, 2**53),
    *(10**18 - 1, 10**18, 2**63 - 1, 2**63, 10**40),
)
FRACTIONS = (5e-324, 0.5, -0.0, 1.5, 1e15 + 0.5, 1e16, 1e300, -1e308)
# A replica that has not reached the revision returns 503 with Retry-After.
WAITING = {"min_revision", "flagConfigEtag"}
MINIMAL = {"key": "k", "source": "staging", "scopes": "read", "name": "made"}

Request = tuple[str, dict[str, str], dict[str, str], Any]


def _edges_of(type_: inspect.Type) -> Iterator[Any]:
    """Yield values of a body's type, each with at most one edge value."""
    if isinstance(type_, inspect.StructType):
        required = {f.encode_name: _minimal(f.type, f.name) for f in type_.fields if f.required}
        if type_.tag_field:
            required[type_.tag_field] = type_.tag
        for field in type_.fields:
            yield from ({**required, field.encode_name: v} for v in _edges_of(field.type))
    elif isinstance(type_, inspect.UnionType):
        for item in type_.types:
            yield from _edges_of(item)
    elif isinstance(type_, inspect.ListType):
        yield from ([value] for value in _edges_of(type_.item_type))
    elif isinstance(type_, inspect.DateTimeType):
        yield from TIMES
    elif isinstance(type_, inspect.IntType | inspect.FloatType):
        yield from (*NUMBERS, *FRACTIONS)
    elif isinstance(type_, inspect.DictType | inspect.AnyType):
        yield from ({"edge": value} for value in (*NUMBERS, *FRACTIONS))


def _minimal(type_: inspect.Type, name: str) -> Any:
    if isinstance(type_, inspect.ListType):
        return [_minimal(type_.item_type, name)]
    if isinstance(type_, inspect.IntType):
        return 1
    if isinstance(type_, inspect.StrType | inspect.EnumType | inspect.LiteralType):
        return MINIMAL.get(name, "local")
    return {}


def _requests(route: Route, path: str) -> Iterator[Request]:
    """Yield path, query, headers and body. One of them has one edge value."""
    query = {"format": "json"} if "format" in route.query else {}
    headers = {"If-Match": "*"} if "If-Match" in route.conditions else {}
    for name in route.query:
        schema = QUERY[name].schema
        edges = TIMES if schema.get("format") == "date-time" else (*NUMBERS, *FRACTIONS)
        for edge in edges if schema.get("type") == "integer" or edges is TIMES else edges[:3]:
            yield path, {**query, name: str(edge)}, headers, {}
    for name in route.conditions:
        for edge in NUMBERS:
            value = f'"{edge}-00000000"' if name.startswith("If-") else f"x:{edge}"
            yield path, query, {name: value}, {}
    if "{revision" in route.path:
        for edge in NUMBERS:
            yield path.replace("/changes/1", f"/changes/{edge}"), query, headers, {}
    if route.body is bytes:
        yield from ((path, query, headers, {"k": edge}) for edge in (*NUMBERS, *FRACTIONS))
    elif route.body is not None:
        for body in _edges_of(inspect.type_info(route.body)):
            yield path, query, headers, body


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_edge_value_never_gets_500(
    service: Service, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Follower.at_least, "__kwdefaults__", {"seconds": 0.001})
    # An administrator cannot rotate a token with the scope publish.
    token = await service.token(*(set(Scope) - {Scope.PUBLISH}), environments=("local",))
    names = {"environment": "local", "key": "f", "revision": "1", "id": token.split("_")[2]}
    names["name"] = "viewer"
    if "{proposal" in route.path:
        names["proposal"] = await _propose(service, token)
    path = re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", r"{\1}", route.path)
    path = path.format(**names, ticket="x", action="pause")
    await _put(service, "f", {"value": SWITCH, "kind": "flag"})
    is_ofrep = route.path.startswith("/ofrep")
    shown = {"Authorization": f"Bearer {token if is_ofrep else service.admin_token}"}

    statuses = set()
    broken = []
    for place, query, headers, body in _requests(route, path):
        url = URL(service.url + place).with_query(query)
        async with service.stranger.request(
            route.method,
            url,
            headers={"Content-Type": route.takes[0], **shown, **headers},
            data=msgspec.json.encode(body) if route.body is not None else None,
        ) as answer:
            waits = answer.status == 503 and WAITING & query.keys()
            statuses.add(answer.status)
            if answer.status >= 500 and not waits:
                broken.append((answer.status, place, query, headers, body))

    assert not broken
    # The request was refused for its values, not for its token or path.
    assert not route.needs_token or not statuses & {401, 403, 405, 415}


async def _propose(service: Service, token: str) -> str:
    """Create a proposal of another person, which the administrator may approve."""
    operation = {"op": "put", "key": "proposed", "version": 0, "value": 1}
    answer = await service.stranger.post(
        "/v1/proposals",
        json={"title": "t", "environment": "local", "operations": [operation]},
        headers={"X-API-Key": token},
    )
    assert answer.status == 201
    return str((await answer.json())["id"])


async def _put(service: Service, key: str, body: Mapping[str, Any]) -> None:
    answer = await service.client.put(
        f"/v1/environments/local/configurations/{key}", json=body, headers={"If-None-Match": "*"}
    )
    assert answer.status == 201


async def test_edge_percentage_never_gets_500(service: Service) -> None:
    """The format of the flag checks a number in a rule, not the type of the body."""
    base = "/v1/environments/local"
    statuses = []
    for number, edge in enumerate((*NUMBERS, *FRACTIONS)):
        rule = {"fractional": [{"var": "targetingKey"}, ["on", edge], ["off", 1]]}
        by_time = {"if": [{"<": [{"var": "$flagd.timestamp"}, edge]}, "on", "off"]}
        for key, targeting in ((f"split-{number}", rule), (f"time-{number}", by_time)):
            result = await service.client.put(
                f"{base}/configurations/{key}",
                json={"value": SWITCH | {"targeting": targeting}, "kind": "flag"},
                headers={"If-None-Match": "*"},
            )
            evaluated = await service.client.post(
                f"{base}/ofrep/v1/evaluate/flags/{key}",
                json={"context": {"targetingKey": "u", "edge": edge}},
            )
            statuses += [result.status, evaluated.status]

    assert max(statuses) < 500
