"""A digest opens no list of others: for a token of payments/, a foreign list does not exist.

Each request is sent with the digest of a foreign list and with one that does not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from app.access.models import Grant, Scope
from app.access.permissions import OPERATOR_RIGHTS, Rights
from app.configuration.changes import service as changes
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.list_data.digest import ListSum
from app.errors import Invalid
from app.http.keys import DATABASE
from app.server.routes import ROUTES
from tests.api.access.list_requests import (
    ENVIRONMENT,
    KEY,
    PROPOSAL_REQUESTS,
    REQUESTS,
    WITHOUT_LISTS,
    ListRequest,
    document,
    entry,
    operation,
    operations,
    proposal,
)
from tests.api.access.readers import name_of
from tests.api.configuration.proposal_calls import Answer, Person, person, protect
from tests.conftest import Service
from tests.factories import flag

READ, WRITE, PROPOSE, APPROVE = Scope.READ, Scope.WRITE, Scope.PROPOSE, Scope.APPROVE
LOCAL = "/v1/environments/local"
FOREIGN = "zebra/vips"
SECRETS = ("okapi", "quokka")
_CSV = {"Content-Type": "text/csv"}
_SAME_ID = {"X-Request-ID": "0" * 26}
_OTHER_HEADERS = {"Date", "Content-Length"}


def named(*values: str) -> dict[str, Any]:
    """Return the value of a segment that names the list of these values."""
    total = ListSum().changed((value, None) for value in values)
    return {"list": {"count": total.count, "digest": total.digest.hex()}}


OPEN, ABSENT = named(*SECRETS), named("no", "list")


async def upload(
    service: Service,
    key: str,
    *values: str,
    token: str = "",
    environment: str = ENVIRONMENT,
    condition: Mapping[str, str] | None = None,
    query: str = "",
) -> tuple[int, Any]:
    """Upload a list, by default as the administrator."""
    headers = _CSV | dict(condition or {"If-None-Match": "*"})
    headers["X-API-Key"] = token or service.admin_token
    async with service.stranger.put(
        f"{environment}/lists/{key}{query}", data="\n".join(values), headers=headers
    ) as answer:
        return answer.status, await answer.json()


@dataclass(frozen=True)
class World:
    """A foreign list, and a token for the keys below payments/ with drafts of its own."""

    service: Service
    token: str
    values: Mapping[str, str]

    @property
    def person(self) -> Person:
        return Person(self.service, self.token)

    async def send(self, request: ListRequest, value: Any, query: str = "") -> tuple[int, str, str]:
        """Return the status, the headers and the text, without the digest and the count."""
        path = request.path if request.path.startswith("/v1") else ENVIRONMENT + request.path
        for name, shown in self.values.items():
            path = path.replace(f"{{{name}}}", shown)
        if query:
            path += ("&" if "?" in path else "?") + query
        headers = {**request.headers, **_SAME_ID, "X-API-Key": self.token}
        async with self.service.stranger.request(
            request.method, path, json=request.body(value), headers=headers
        ) as answer:
            headers = {n: v for n, v in answer.headers.items() if n not in _OTHER_HEADERS}
            text = (await answer.text()).replace(value["list"]["digest"], "DIGEST")
            return answer.status, str(headers), text


@pytest.fixture
async def world(service: Service) -> World:
    """Upload the foreign list to both environments, and create own proposals."""
    for environment in (ENVIRONMENT, LOCAL):
        status, result = await upload(service, FOREIGN, *SECRETS, environment=environment)
        assert status == 201, result
    token = await service.token(READ, WRITE, Scope.REVEAL, prefixes=("payments/",))
    values = {}
    for name, members in (("open", {}), ("draft", {"draft": True})):
        change = {"op": "put", "key": "payments/limit", "version": 0, "value": 1}
        made = await Person(service, token).propose(change, **members)
        values[name] = str(made["id"])
    return World(service, token, values)


def test_each_writing_route_has_a_request_or_names_no_list() -> None:
    writing = {name_of(route) for route in ROUTES if route.writes}
    named_routes = {name.split("#")[0] for name in {**REQUESTS, **PROPOSAL_REQUESTS}}

    assert writing == named_routes | WITHOUT_LISTS.keys()


@pytest.mark.parametrize("query", ["", "dry_run=true", "propose=true"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_write_with_a_foreign_digest_is_refused(world: World, name: str, query: str) -> None:
    foreign = await world.send(REQUESTS[name], OPEN, query)
    absent = await world.send(REQUESTS[name], ABSENT, query)

    assert foreign == absent
    assert (foreign[0], "list_unknown" in foreign[2]) == (422, True), foreign
    assert await world.person.value(KEY) is None


@pytest.mark.parametrize("name", PROPOSAL_REQUESTS)
async def test_proposal_with_a_foreign_digest_is_refused(world: World, name: str) -> None:
    foreign = await world.send(PROPOSAL_REQUESTS[name], OPEN)
    absent = await world.send(PROPOSAL_REQUESTS[name], ABSENT)

    assert foreign == absent
    assert (foreign[0], "list_unknown" in foreign[2]) == (422, True), foreign


@pytest.mark.parametrize("query", ["", "dry_run=true", "propose=true"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_protected_environment_confirms_no_digest(
    world: World, name: str, query: str
) -> None:
    """The write is refused before its lists are checked, and its proposal afterwards."""
    await protect(world.service, approvals=1)

    foreign = await world.send(REQUESTS[name], OPEN, query)
    absent = await world.send(REQUESTS[name], ABSENT, query)

    assert foreign == absent
    assert foreign[0] == (422 if query else 409), foreign


async def test_list_to_propose_cannot_be_named_elsewhere(service: Service) -> None:
    """To propose a change of a list is no right to read it."""
    await upload(service, FOREIGN, *SECRETS)
    rights = Rights(
        [
            _grant("zebra/", WRITE),
            _grant("payments/", READ, WRITE),
        ]
    )

    with pytest.raises(Invalid) as caught:
        await _apply(service, rights)

    assert caught.value.code == "list_unknown"


def _grant(prefix: str, *scopes: Scope) -> Grant:
    return Grant(
        scopes=frozenset(scopes),
        environments=frozenset({"staging"}),
        prefixes=frozenset({prefix}),
        expires_at=None,
    )


async def _apply(service: Service, rights: Rights) -> list[str]:
    """Name the foreign list under an own key, and return the statements that read lists."""
    seen: list[Any] = []
    change = Operation(key=KEY, content=Content(kind=Kind.SEGMENT, value=OPEN), expected=None)
    async with service.app[DATABASE].connection() as connection:
        with connection.query_logger(seen.append):
            await changes.apply(
                connection, "staging", [change], actor="test", authority=Authority(rights=rights)
            )
    return [record.query for record in seen if "list_states" in record.query]


@pytest.mark.parametrize("rights", [OPERATOR_RIGHTS, Rights([_grant("", *Scope)])])
async def test_unlimited_author_names_any_list(service: Service, rights: Rights) -> None:
    """It needs no statement but the one that finds the list."""
    await upload(service, FOREIGN, *SECRETS)

    statements = await _apply(service, rights)

    assert len(statements) == 1
    assert "changes" not in statements[0]


async def lenient_import(world: World, value: Any) -> Answer:
    body = document(value, "payments/broken")
    return await world.person.call("POST", f"{ENVIRONMENT}/import?lenient=true", body)


@pytest.mark.parametrize("members", [{"count": 2.0}, {"more": 1}, {"count": "2"}])
async def test_malformed_list_does_not_make_a_digest_own(
    world: World, members: dict[str, Any]
) -> None:
    """A lenient import stores such a segment, and a setting has any value."""
    imported = await lenient_import(world, {"list": OPEN["list"] | members})
    setting = {"op": "put", "key": "payments/text", "version": 0, "value": OPEN}
    written = await world.person.call("POST", f"{ENVIRONMENT}/changes", {"operations": [setting]})

    answer = await world.person.call("POST", f"{ENVIRONMENT}/changes", operations(OPEN))

    assert (imported.status, written.status) == (200, 200), imported.body
    assert (answer.status, answer.body["code"]) == (422, "list_unknown")


async def test_long_digest_of_a_malformed_list_is_stored(world: World) -> None:
    """An index has no place for a text that is too long even when it is compressed."""
    digest = "".join(named(str(number))["list"]["digest"] for number in range(250))

    imported = await lenient_import(world, {"list": {"digest": digest}})

    assert imported.status == 200, imported.body


async def test_list_of_an_earlier_environment_does_not_exist(service: Service) -> None:
    """Its history cannot be read since another environment has the name."""
    new = {"name": "trial", "tier": "local"}
    place = "/v1/environments/trial"
    for _ in range(2):
        created = await service.client.post("/v1/environments", json=new)
        assert created.status == 201, await created.text()
        before = await service.token(READ, WRITE, prefixes=("payments/",), environments=("trial",))
        body = operations(OPEN)
        answer = await Person(service, before).call("POST", f"{place}/changes", body)
        assert (answer.status, answer.body["code"]) == (422, "list_unknown")
        await upload(service, "payments/other", *SECRETS, environment=place)
        deleted = await service.client.delete(place, headers={"If-Match": "*"})
        assert deleted.status == 200, await deleted.text()


async def test_preview_does_not_ask_a_foreign_list(world: World) -> None:
    """A flag that uses the draft would show who is in the list."""
    rule = {"if": [{"in_list": [KEY, {"var": "targetingKey"}]}, "on", "off"]}

    def body(value: Any) -> dict[str, Any]:
        changes = {
            KEY: entry(value),
            "payments/flag": {"kind": "flag", "value": flag(targeting=rule)},
        }
        return {"changes": changes, "contexts": [{"targetingKey": "okapi"}], "at": _NOW}

    preview = ListRequest("POST", "/preview", body)

    foreign, absent = await world.send(preview, OPEN), await world.send(preview, ABSENT)
    await upload(world.service, "payments/own", *SECRETS)
    own = await world.send(preview, OPEN)

    assert foreign == absent
    assert (foreign[0], "not loaded" in foreign[2]) == (200, True), foreign
    assert '"variant":"on"' in own[2], own


_NOW = "2026-11-29T12:00:00Z"


async def test_own_lists_can_be_named(world: World) -> None:
    """Lists of own entries: now, in the history, and in another environment."""
    service, someone = world.service, world.person
    await upload(service, "payments/now", "ada")
    await upload(service, "payments/changed", "bob")
    await upload(service, "payments/changed", "eve", condition={"If-Match": '"1"'})
    await upload(service, "payments/gone", "dan")
    await someone.call("DELETE", f"{ENVIRONMENT}/configurations/payments/gone", If_Match='"1"')
    await upload(service, "payments/elsewhere", "kim", environment=LOCAL)
    at_home = await person(service, READ, WRITE, environments=("staging",), prefixes=("payments/",))

    for version, name in enumerate(("ada", "bob", "eve", "dan", "kim")):
        change = operation(named(name)) | {"version": version}
        body = {"operations": [change]}
        dry = await at_home.call("POST", f"{ENVIRONMENT}/changes?dry_run=true", body)
        answer = await someone.call("POST", f"{ENVIRONMENT}/changes", body)

        assert answer.status == 200, answer.body
        assert dry.status == (422 if name == "kim" else 200), dry.body


async def test_own_list_reverts_restores_and_is_promoted(world: World) -> None:
    service, someone = world.service, world.person
    await upload(service, KEY, "ada", token=world.token)
    status, _ = await upload(service, KEY, "bob", token=world.token, condition={"If-Match": '"1"'})
    assert status == 200
    revision = (await someone.get(ENVIRONMENT))["revision"]

    reverted = await someone.call("POST", f"{ENVIRONMENT}/changes/{revision}/revert", {})
    first = await someone.value(KEY)
    restored = await someone.call("POST", f"{ENVIRONMENT}/restore", {"revision": revision})
    second = await someone.value(KEY)
    promoted = await someone.call("POST", f"{LOCAL}/promote", {"from": "staging", "keys": [KEY]})

    assert [answer.status for answer in (reverted, restored, promoted)] == [200, 200, 200], (
        reverted.body,
        restored.body,
        promoted.body,
    )
    assert (first, second) == (named("ada"), named("bob"))
    assert await someone.value(KEY, "local") == named("bob")


async def test_own_export_can_be_imported(world: World) -> None:
    someone = world.person
    await upload(world.service, KEY, "ada", token=world.token)
    exported = await someone.get(f"{ENVIRONMENT}/export?format=json")

    imported = await someone.call("POST", f"{LOCAL}/import", exported)

    assert imported.status == 200, imported.body
    assert await someone.value(KEY, "local") == named("ada")


async def test_staged_upload_is_named_by_its_author_alone(service: Service) -> None:
    """A refused upload stores the values for a proposal."""
    await protect(service, approvals=1)
    author = await person(service, READ, WRITE, prefixes=("payments/",))
    other = await person(service, READ, WRITE, prefixes=("payments/",))
    status, refused = await upload(service, KEY, "ada", token=author.token)
    assert (status, refused["code"]) == (409, "approval_required")

    dry = await other.call("POST", f"{ENVIRONMENT}/changes?dry_run=true", operations(named("ada")))
    foreign = await other.call("POST", "/v1/proposals", proposal(named("ada")))
    own = await author.call("POST", "/v1/proposals", proposal(named("ada")))

    assert [(answer.status, answer.body["code"]) for answer in (dry, foreign)] == [
        (422, "list_unknown")
    ] * 2
    assert own.status == 201, own.body


async def test_staged_upload_is_named_by_the_replacing_token(service: Service) -> None:
    """Tokens that replace each other are one author, in both directions."""
    await protect(service, approvals=1)
    authors = [await person(service, READ, WRITE, prefixes=("payments/",))]
    for _ in range(2):
        id_ = authors[-1].actor.removeprefix("token:")
        path = f"/v1/tokens/{id_}/rotate"
        async with service.client.post(path, json={"grace_seconds": 60}) as answer:
            authors.append(Person(service, (await answer.json())["text"]))
    for author, value in ((authors[0], "ada"), (authors[1], "bob"), (authors[2], "cyd")):
        await upload(service, KEY, value, token=author.token)

    path = f"{ENVIRONMENT}/changes?dry_run=true"
    answers = [
        (await author.call("POST", path, operations(named(value)))).status
        for author in authors
        for value in ("ada", "bob", "cyd")
    ]

    assert answers == [200] * 9


async def test_dry_run_stages_no_upload(world: World) -> None:
    """A list whose upload was only tried is not stored, also if others have stored it."""
    status, _ = await upload(world.service, KEY, *SECRETS, token=world.token, query="?dry_run=true")

    answer = await world.person.call("POST", f"{ENVIRONMENT}/changes", operations(OPEN))

    assert status == 200
    assert (answer.status, answer.body["code"]) == (422, "list_unknown")


@pytest.mark.parametrize("is_draft", [False, True])
async def test_proposed_list_passes_all_steps(service: Service, *, is_draft: bool) -> None:
    """The author was allowed to name the list, so others of payments/ may go on with it."""
    await protect(service, approvals=1)
    author = await person(service, READ, WRITE, prefixes=("payments/",))
    editor = await person(service, READ, WRITE, prefixes=("payments/",))
    senior = await person(service, READ, WRITE, APPROVE, prefixes=("payments/",))
    await upload(service, KEY, "ada", token=author.token)
    made = await author.propose(operation(named("ada")), draft=is_draft)

    edited = await editor.edit(made, title="Better")
    assert edited.status == 200, edited.body
    if is_draft:
        edited = await editor.act(edited.body, "submit")
        assert edited.status == 200, edited.body
    previewed = await senior.get(f"/v1/proposals/{made['id']}/preview")
    approved = await senior.act(edited.body, "approve")
    assert approved.status == 200, approved.body
    applied = await editor.act(approved.body, "apply")

    assert previewed["can_apply"] is True, previewed
    assert applied.status == 200, applied.body
    assert await editor.value(KEY) == named("ada")


async def test_editor_cannot_move_a_list_to_another_key(service: Service) -> None:
    await protect(service, approvals=1)
    author = await person(service, READ, WRITE, prefixes=("payments/",))
    editor = await person(service, READ, WRITE, prefixes=("payments/",))
    await upload(service, KEY, "ada", token=author.token)
    made = await author.propose(operation(named("ada")))

    moved = operation(named("ada")) | {"key": "payments/other"}
    edited = await editor.edit(made, environment="staging", operations=[moved])

    assert (edited.status, edited.body["code"]) == (422, "list_unknown")


async def test_patch_with_approval_can_be_proposed(service: Service) -> None:
    await upload(service, KEY, "ada")
    await protect(service, approvals=1)
    author = await person(service, READ, WRITE, prefixes=("payments/",))

    answer = await author.call(
        "PATCH",
        f"{ENVIRONMENT}/lists/{KEY}?propose=true",
        {"add": ["bob"]},
        If_Match='"1"',
        Content_Type="application/merge-patch+json",
    )

    assert answer.status == 202, answer.body
    assert answer.body["operations"][0]["value"] == named("ada", "bob")
