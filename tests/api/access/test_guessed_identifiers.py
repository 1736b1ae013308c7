"""A guessed identifier of others gets the answer of one that does not exist.

The caller has a token for the keys below payments/.
"""

import re
from typing import Any

import pytest

from app.access.models import PERSONAL_SCOPES, Scope
from app.server.routes import ROUTES
from tests.api.access.readers import name_of
from tests.api.configuration.proposal_calls import Answer, Person, person, put, write
from tests.conftest import Service
from tests.people import give, sign_in_person

STAGING = "/v1/environments/staging"
_SCOPES = (Scope.READ, Scope.WRITE, Scope.APPROVE, Scope.EVALUATE)
_BODIES: dict[str, Any] = {
    "PATCH /v1/proposals/{proposal}": {"title": "Mine"},
    "POST /v1/proposals/{proposal}/evaluate": {
        "flag": "payments/flag",
        "environment": "staging",
        "context": {"targetingKey": "a"},
    },
    "POST /v1/proposals/{proposal}/reject": {"reason": "No"},
    "POST /v1/proposals/{proposal}/comment": {"text": "Why?"},
    "POST /v1/proposals/{proposal}/schedule": {"apply_at": "2099-01-01T00:00:00Z"},
}
_ACCESS = ("tokens", "people", "roles", "grants", "projects")
_ACCESS_BODIES: dict[str, Any] = {
    "POST /v1/tokens/{id}/rotate": {},
    "POST /v1/people/{id}/suspend": {"reason": "r"},
    "POST /v1/people/{id}/restore": {"reason": "r"},
    "PUT /v1/roles/{name}": {"scopes": ["read"]},
    "PATCH /v1/projects/{name}": {"owner_group": "g"},
}
_ACCESS_ROUTES = [
    name_of(route)
    for route in ROUTES
    if route.path.startswith(tuple(f"/v1/{noun}/{{" for noun in _ACCESS))
    # Every administrator sees all people and roles.
    and name_of(route) not in {"GET /v1/people/{id}", "GET /v1/roles/{name}"}
]
_PROPOSAL_ROUTES = [name_of(route) for route in ROUTES if "{proposal:" in route.path]


@pytest.fixture
async def limited(service: Service) -> Person:
    return await person(service, *_SCOPES, prefixes=("payments/",))


def _same(foreign: Answer, absent: Answer, status: int) -> None:
    """Assert that two answers differ in the request ID alone."""
    ids = "request_id"
    assert foreign.status == absent.status == status, (foreign.body, absent.body)
    assert {**foreign.body, ids: ""} == {**absent.body, ids: ""}


@pytest.mark.parametrize("line", _PROPOSAL_ROUTES)
async def test_foreign_proposal_is_as_if_unknown(
    service: Service, limited: Person, line: str
) -> None:
    made = await (await person(service)).propose(put("zebra/ranking", 1))
    method, path = line.split()
    body = None if method == "GET" else _BODIES.get(line, {})

    foreign, absent = [
        await limited.call(method, path.replace("{proposal}", str(id_)), body, If_Match='"1"')
        for id_ in (made["id"], made["id"] + 1_000)
    ]

    _same(foreign, absent, 404)


async def test_check_of_a_foreign_token_is_as_if_unknown(service: Service) -> None:
    administrator = await person(service, *PERSONAL_SCOPES, prefixes=("payments/",))
    own, foreign, revoked = [
        await service.token(Scope.READ, prefixes=(prefix,))
        for prefix in ("payments/a/", "zebra/", "zebra/")
    ]
    wide = await service.token(Scope.READ)
    await service.revoke(revoked)
    ids = [text.split("_")[2] for text in (own, wide, foreign, revoked)]

    answers = [
        await administrator.call(
            "GET",
            f"/v1/access/check?actor=token:{id_}&scope=read&environment=staging&key=payments/x",
        )
        for id_ in [*ids, "0" * 13]
    ]

    own_answer, wide_answer, foreign_answer, revoked_answer, absent = answers
    assert (own_answer.status, own_answer.body["allowed"]) == (200, False)
    # `GET /v1/access/who` lists it.
    assert (wide_answer.status, wide_answer.body["allowed"]) == (200, True)
    _same(foreign_answer, absent, 404)
    _same(revoked_answer, absent, 404)


@pytest.mark.parametrize("line", _ACCESS_ROUTES)
@pytest.mark.parametrize(
    "own", [{"prefixes": ("payments/",)}, {"environments": ("local",), "prefixes": ("payments/",)}]
)
async def test_foreign_row_of_access_is_as_if_unknown(
    service: Service, line: str, own: dict[str, Any]
) -> None:
    administrator = await person(service, *PERSONAL_SCOPES, **own)
    role = {"name": "auditor", "scopes": ["read"]}
    project = {"name": "zebra", "prefix": "zebra/", "owner_group": "leads"}
    for path, body in (("/v1/roles", role), ("/v1/projects", project)):
        assert (await service.client.post(path, json=body)).status == 201
    foreign_ids = {
        "tokens": (await service.token(Scope.READ)).split("_")[2],
        "people": (await sign_in_person(service)).person.id,
        "roles": "auditor",
        "grants": (await give(service, "platform", "viewer")).id,
        "projects": "zebra",
    }
    method, path = line.split()
    noun = path.split("/")[2]
    query = "?reason=r" if line == "DELETE /v1/grants/{id}" else ""

    foreign, absent = [
        await administrator.call(
            method,
            re.sub(r"{\w+}", id_, path) + query,
            _ACCESS_BODIES.get(line),
            If_Match='"1"',
        )
        for id_ in (foreign_ids[noun], "unknown" if noun in {"roles", "projects"} else "0" * 13)
    ]

    _same(foreign, absent, 403 if noun in {"people", "roles"} else 404)


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?propose=true"])
async def test_foreign_revision_is_reverted_as_if_unknown(
    service: Service, limited: Person, query: str
) -> None:
    change_set = await write(service, put("zebra/ranking", 1))

    foreign, absent = [
        await limited.call("POST", f"{STAGING}/changes/{revision}/revert{query}", {})
        for revision in (change_set["revision"], change_set["revision"] + 1)
    ]

    _same(foreign, absent, 404)


async def test_idempotency_key_of_another_caller_is_free(service: Service, limited: Person) -> None:
    """Its answer would show the write of the other caller."""
    other = await person(service)
    first = await other.call(
        "POST", f"{STAGING}/changes", {"operations": [put("zebra/a", 1)]}, Idempotency_Key="k"
    )

    own = await limited.call(
        "POST", f"{STAGING}/changes", {"operations": [put("payments/a", 1)]}, Idempotency_Key="k"
    )
    same = await limited.call(
        "POST", f"{STAGING}/changes", {"operations": [put("zebra/a", 1)]}, Idempotency_Key="j"
    )

    assert (first.status, own.status, same.status) == (200, 200, 403)
    assert [change["key"] for change in own.body["change_sets"][0]["changes"]] == ["payments/a"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_version_of_a_foreign_entry_is_not_confirmed(
    service: Service, limited: Person, method: str
) -> None:
    await write(service, put("zebra/ranking", 1))
    path = f"{STAGING}/configurations/zebra/ranking"
    body = {"value": 2} if method == "PUT" else None

    right, wrong = [
        await limited.call(method, path, body, If_Match=version) for version in ('"1"', '"7"')
    ]

    _same(right, wrong, 403)


async def test_cursor_of_a_foreign_key_shows_own_entries_alone(
    service: Service, limited: Person
) -> None:
    await write(service, put("payments/a", 1), put("a/b", 1), put("z/b", 1))

    existing, absent = [
        await limited.get(f"{STAGING}/configurations?after={after}") for after in ("a/b", "a/c")
    ]

    assert existing["items"] == absent["items"]
    assert [item["key"] for item in existing["items"]] == ["payments/a"]
