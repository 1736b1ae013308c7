"""Writes of a token that is limited to the prefix payments/: it changes its own keys alone.

No answer shows a foreign entry that the token may not read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.access.models import Grant, Scope
from app.access.permissions import OPERATOR_RIGHTS, Rights
from app.configuration.changes import plans
from app.database import Connection
from app.errors import Forbidden, Invalid
from app.http.keys import DATABASE
from tests.api.configuration.proposal_calls import (
    Answer,
    Person,
    delete,
    person,
    protect,
    put,
    write,
)
from tests.conftest import Service

STAGING = "/v1/environments/staging"
OWN, FOREIGN = "payments/limit", "search/secret-name"
READ, WRITE, PROPOSE = Scope.READ, Scope.WRITE, Scope.PROPOSE


def flag(**rest: object) -> dict[str, Any]:
    variants = {"on": True, "off": False}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": "off", **rest}


def targeting(name: str) -> dict[str, Any]:
    return {"if": [{"$ref": name}, "on"]}


def also_in(name: str) -> dict[str, Any]:
    return {"and": [{"$ref": name}]}


RULE = {"==": [{"var": "country"}, "de"]}


@pytest.fixture
async def limited(service: Service) -> Person:
    await write(service, put(OWN, 1), put(FOREIGN, "confidential"))
    return await person(service, READ, WRITE, Scope.REVEAL, prefixes=("payments/",))


@pytest.fixture
async def proposer(service: Service) -> Person:
    return await person(service, READ, PROPOSE, prefixes=("payments/",))


def assert_foreign(answer: Answer, asked: str = "") -> None:
    """Assert a refusal that names no foreign entry. It repeats the key in the path, `asked`."""
    assert (answer.status, answer.body["code"]) == (403, "key_foreign"), answer.body
    detail = answer.body["detail"]
    if asked:
        assert detail.startswith(f"{asked} is outside of your rights. "), detail
        detail = detail.removeprefix(asked)
    assert_silent(replace(answer, body=answer.body | {"detail": detail}))


def assert_silent(answer: Answer) -> None:
    assert not any(text in str(answer.body) for text in ("search/", "confidential")), answer.body


async def put_entry(
    person: Person, key: str, body: Mapping[str, object], *, query: str = "", **headers: str
) -> Answer:
    headers = headers or {"If_None_Match": "*"}
    return await person.call("PUT", f"{STAGING}/configurations/{key}{query}", dict(body), **headers)


async def test_entry_outside_of_keys_is_refused_by_path(limited: Person) -> None:
    answers = [
        (key, await limited.call(method, f"{STAGING}/configurations/{key}", body, If_Match='"1"'))
        for key in (FOREIGN, "search/absent")
        for method, body in (("PUT", {"value": 2}), ("DELETE", None))
    ]

    for key, answer in answers:
        assert_foreign(answer, asked=key)
    # An entry that exists gets the same answer as one that does not, apart from the key asked for.
    bodies = [
        answer.body | {"detail": answer.body["detail"].removeprefix(key), "request_id": ""}
        for key, answer in answers
    ]
    assert all(body == bodies[0] for body in bodies)


async def test_own_entry_is_written_alone_and_in_a_group(limited: Person) -> None:
    grouped = await put_entry(limited, "payments/new", {"value": 1})
    alone = await put_entry(limited, "payments/two", {"value": 1}, query="?dry_run=true")
    deleted = await limited.call("DELETE", f"{STAGING}/configurations/{OWN}", If_Match='"1"')

    assert [answer.status for answer in (grouped, alone, deleted)] == [201, 200, 200]


async def test_refusal_names_the_key_the_right_and_who_gives_it(limited: Person) -> None:
    refused = await put_entry(limited, FOREIGN, {"value": 1})

    assert refused.body["code"] == "key_foreign"
    assert refused.body["detail"] == (
        f"{FOREIGN} is outside of your rights. You have the scope write or propose for keys with "
        "the prefix payments/ alone. An administrator can give it, or an owner of the project of "
        "the key."
    )


async def test_change_set_with_a_foreign_key_is_refused(limited: Person) -> None:
    body = {"operations": [put("payments/new", 1), put(FOREIGN, 2, 1), put("search/absent", 1)]}

    refused = await limited.call("POST", f"{STAGING}/changes", body)
    own = await limited.call("POST", f"{STAGING}/changes", {"operations": [put("payments/n", 1)]})

    assert_foreign(refused)
    assert refused.body["detail"].startswith(
        "Your rights in staging do not cover every key of this request. You have the scope write "
    )
    assert own.status == 200
    assert await limited.value("payments/new") is None


async def test_properties_need_rights_for_all_keys(limited: Person) -> None:
    patch = {"op": "patch", "version": 1, "metadata": {"a": 1}}

    by_path = await limited.call("PATCH", STAGING, {"metadata": {"a": 1}}, If_Match='"1"')
    in_change_set = await limited.call("POST", f"{STAGING}/changes", {"operations": [patch]})

    assert by_path.status == 403
    assert_foreign(in_change_set)
    assert "properties" in in_change_set.body["detail"]


async def test_entry_with_key_properties_is_no_way_around(limited: Person) -> None:
    body = {"operations": [put("properties", 1)]}

    assert_foreign(await limited.call("POST", f"{STAGING}/changes", body))


async def test_replacing_import_replaces_own_keys_only(limited: Person, service: Service) -> None:
    await write(service, put("payments/old", 1))
    document = await exported(service, OWN, 5)

    imported = await limited.call("POST", f"{STAGING}/import?mode=replace", document)

    assert imported.status == 200, imported.body
    assert (imported.body["updated"], imported.body["deleted"]) == ([OWN], ["payments/old"])
    assert_silent(imported)
    answer = await service.client.get(f"{STAGING}/configurations/{FOREIGN}")
    assert answer.status == 200


async def exported(service: Service, key: str, value: object) -> Any:
    """Return a document with one setting, in the format of exports."""
    async with service.client.get(f"{STAGING}/export") as answer:
        document = await answer.json()
    document["entries"] = {key: {**document["entries"][OWN], "value": value}}
    return document


async def test_import_with_a_foreign_key_is_refused(limited: Person, service: Service) -> None:
    unchanged = await exported(service, FOREIGN, "confidential")
    absent = await exported(service, "search/absent", 1)

    answers = [
        await limited.call("POST", f"{STAGING}/import{query}", document)
        for document in (unchanged, absent)
        for query in ("", "?dry_run=true")
    ]

    for answer in answers:
        assert_foreign(answer)


async def test_promotion_takes_own_keys_along_and_no_others(
    limited: Person, service: Service
) -> None:
    segment = put("search/seg", RULE, kind="segment")
    own_segment = put("payments/seg", RULE, kind="segment")
    await write(
        service,
        segment,
        own_segment,
        put("payments/a", flag(targeting=targeting("payments/seg")), kind="flag"),
        put("payments/b", flag(targeting=targeting("search/seg")), kind="flag"),
    )
    path = "/v1/environments/production/promote"

    async def promote(*keys: str) -> Answer:
        return await limited.call("POST", path, {"from": "staging", "keys": list(keys)})

    own = await promote("payments/a")
    with_foreign = await promote("payments/b")
    foreign = await promote(FOREIGN)
    absent = await promote("search/absent")

    assert own.status == 200, own.body
    changed = [change["key"] for change in own.body["change_sets"][0]["changes"]]
    assert changed == ["payments/a", "payments/seg"]
    for answer in (with_foreign, foreign, absent):
        assert_foreign(answer)


async def test_promotion_needs_read_in_both_environments(service: Service) -> None:
    """Otherwise a plan without a change says that the values are equal."""
    await write(service, put(FOREIGN, "guessed"))
    await write(service, put(FOREIGN, "guessed"), environment="production")
    # Only grants of people differ by environment; a token has one set of scopes.
    grants = [
        Grant(scopes=frozenset(scopes), environments=frozenset({name}), expires_at=None)
        for scopes, name in (((READ,), "staging"), ((PROPOSE,), "production"))
    ]

    async def promote(connection: Connection) -> None:
        await plans.promote(connection, "staging", "production", [FOREIGN], rights=Rights(grants))

    with pytest.raises(Forbidden) as refused:
        await service.app[DATABASE].transact(promote)

    assert refused.value.code == "key_foreign"


async def test_secret_is_promoted_only_with_reveal_for_its_key(service: Service) -> None:
    await write(service, put("payments/key", "s3cret", kind="secret"))
    without = await person(service, READ, WRITE, prefixes=("payments/",))
    path, body = (
        "/v1/environments/production/promote",
        {"from": "staging", "keys": ["payments/key"]},
    )

    refused = await without.call("POST", path, body)
    promoted = await (
        await person(service, READ, WRITE, Scope.REVEAL, prefixes=("payments/",))
    ).call("POST", path, body)

    assert (refused.status, refused.body["code"]) == (403, "scope_missing")
    assert promoted.status == 200, promoted.body


async def test_restore_and_revert_of_foreign_keys_are_refused(
    limited: Person, service: Service
) -> None:
    both = await write(service, put(OWN, 2, 1), put(FOREIGN, "changed", 1))
    await write(service, put(OWN, 3, 2))

    refused = [
        await limited.call("POST", f"{STAGING}/restore", {"revision": both["revision"] - 1}),
        await limited.call("POST", f"{STAGING}/changes/{both['revision']}/revert", {}),
    ]
    restored = await limited.call("POST", f"{STAGING}/restore", {"revision": both["revision"]})
    reverted = await limited.call(
        "POST", f"{STAGING}/changes/{restored.body['change_sets'][0]['revision']}/revert", {}
    )

    for answer, action in zip(refused, ("restore", "revert"), strict=True):
        assert_foreign(answer)
        assert "every key of this request" in answer.body["detail"]
        assert f"To {action} only your own keys, name their prefixes." in answer.body["detail"]
    assert (restored.status, reverted.status) == (200, 200)
    assert [c["key"] for c in restored.body["change_sets"][0]["changes"]] == [OWN]


async def test_revert_and_restore_of_own_prefixes_leave_foreign_keys(
    limited: Person, service: Service
) -> None:
    both = await write(service, put(OWN, 2, 1), put(FOREIGN, "changed", 1))

    own = {"prefixes": ["payments/"]}
    reverted = await limited.call("POST", f"{STAGING}/changes/{both['revision']}/revert", own)
    await write(service, put(OWN, 4, 3), put(FOREIGN, "again", 2))
    restored = await limited.call("POST", f"{STAGING}/restore", {"revision": 1, **own})

    for answer, action in ((reverted, "Revert revision 2"), (restored, "Restore revision 1")):
        assert answer.status == 200, answer.body
        (change_set,) = answer.body["change_sets"]
        assert [c["key"] for c in change_set["changes"]] == [OWN]
        path = f"{STAGING}/changes/{change_set['revision']}"
        assert (await limited.call("GET", path)).body["message"] == f"{action} in part"
    async with service.client.get(f"{STAGING}/configurations/{FOREIGN}") as found:
        assert (await found.json())["value"] == "again"


@pytest.mark.parametrize("prefix", ["", "pay", "search/", "search/secret-name", "absent/"])
async def test_revert_of_a_foreign_prefix_is_refused_unread(
    limited: Person, service: Service, prefix: str
) -> None:
    """Otherwise the answer would tell whether the change set has a key below the prefix."""
    both = await write(service, put(OWN, 2, 1), put(FOREIGN, "changed", 1))
    body = {"prefixes": [prefix]}

    reverted = await limited.call("POST", f"{STAGING}/changes/{both['revision']}/revert", body)
    restored = await limited.call("POST", f"{STAGING}/restore", {"revision": 1, **body})

    for answer in (reverted, restored):
        assert_foreign(answer)
        assert "do not cover these prefixes. You have the scope write" in answer.body["detail"]


async def test_revert_of_prefixes_leaves_the_properties(service: Service) -> None:
    reviewer = await person(service, READ, WRITE)
    patch = {"op": "patch", "version": 1, "metadata": {"owner": "platform"}}
    await write(service, put(OWN, 1), put(FOREIGN, 1), patch)

    body = {"prefixes": ["payments/"]}
    reverted = await reviewer.call("POST", f"{STAGING}/changes/1/revert", body)

    (change_set,) = reverted.body["change_sets"]
    assert [c["key"] for c in change_set["changes"]] == [OWN]
    async with service.client.get(STAGING) as found:
        assert (await found.json())["metadata"] == {"owner": "platform"}


@pytest.mark.parametrize("prefixes", [["a" * 256], ["/a"], ["é"], ["a"] * 101])
async def test_command_and_api_refuse_the_same_prefixes(
    service: Service, prefixes: list[str]
) -> None:
    reviewer = await person(service, READ, WRITE)

    for path, body in (("changes/1/revert", {}), ("restore", {"revision": 0})):
        answer = await reviewer.call("POST", f"{STAGING}/{path}", {**body, "prefixes": prefixes})
        assert answer.status in {400, 422}, answer.body
        assert answer.body["errors"][0]["field"].startswith("prefixes")
    # A command without FLAGSTONE_URL calls this with the rights of an operator.
    with pytest.raises(Invalid):
        plans.narrowed(OPERATOR_RIGHTS, "staging", prefixes)


async def test_empty_prefix_of_a_revert_is_for_keys_and_properties(service: Service) -> None:
    reviewer = await person(service, READ, WRITE)
    patch = {"op": "patch", "version": 1, "metadata": {"owner": "platform"}}
    await write(service, put(OWN, 1), put(FOREIGN, 1), patch)

    answer = await reviewer.call("POST", f"{STAGING}/changes/1/revert", {"prefixes": [""]})

    (change_set,) = answer.body["change_sets"]
    assert [c["key"] for c in change_set["changes"]] == [OWN, FOREIGN]
    async with service.client.get(STAGING) as found:
        assert (await found.json())["metadata"] == {}


async def test_removal_of_a_used_segment_names_no_foreign_user(
    limited: Person, service: Service
) -> None:
    await write(service, put("payments/seg", RULE, kind="segment"))
    await write(
        service,
        put("search/user", flag(targeting=targeting("payments/seg")), kind="flag"),
        put("payments/user", flag(targeting=targeting("payments/seg")), kind="flag"),
    )
    path = f"{STAGING}/configurations/payments/seg"

    both = await limited.call("DELETE", path, If_Match='"1"')
    await limited.call("DELETE", f"{STAGING}/configurations/payments/user", If_Match='"1"')
    foreign = await limited.call("DELETE", path, If_Match='"1"')

    assert (both.status, foreign.status) == (409, 409)
    assert both.body["code"] == foreign.body["code"] == "segment_in_use"
    assert "payments/user refers to payments/seg" in both.body["detail"]
    for answer in (both, foreign):
        assert_silent(answer)
        assert "outside of your keys" in answer.body["detail"]


async def test_needed_flag_names_no_foreign_user(limited: Person, service: Service) -> None:
    await write(service, put("payments/base", flag(), kind="flag"))
    need = [{"flag": "payments/base", "variant": "on"}]
    await write(service, put("search/user", flag(prerequisites=need), kind="flag"))

    answer = await limited.call("DELETE", f"{STAGING}/configurations/payments/base", If_Match='"1"')

    assert (answer.status, answer.body["code"]) == (409, "flag_needed")
    assert_silent(answer)


async def test_broken_guard_of_a_foreign_flag_is_not_shown(
    limited: Person, service: Service
) -> None:
    await write(service, put("payments/seg", RULE, kind="segment"))
    guards = [{"context": {"country": "de"}, "variant": "on", "name": "confidential"}]
    definition = flag(targeting=targeting("payments/seg"), guards=guards)
    await write(service, put("search/guarded", definition, kind="flag"))
    other = {"==": [{"var": "country"}, "ke"]}

    answer = await put_entry(
        limited, "payments/seg", {"kind": "segment", "value": other}, If_Match='"1"'
    )

    assert (answer.status, answer.body["code"]) == (422, "guard_broken")
    assert_silent(answer)


async def test_cycle_through_a_foreign_segment_is_not_shown(
    limited: Person, service: Service
) -> None:
    await write(service, put("payments/seg", RULE, kind="segment"))
    await write(service, put("search/mid", also_in("payments/seg"), kind="segment"))
    await write(service, put("shared/top", also_in("search/mid"), kind="segment"))

    answer = await put_entry(
        limited,
        "payments/seg",
        {"kind": "segment", "value": also_in("shared/top")},
        If_Match='"1"',
    )

    assert (answer.status, answer.body["code"]) == (422, "reference_circular")
    assert_silent(answer)


async def test_unknown_reference_of_an_own_entry_is_named(limited: Person) -> None:
    body = {"kind": "flag", "value": flag(targeting=targeting("shared/absent"))}

    answer = await put_entry(limited, "payments/f", body)

    assert (answer.status, answer.body["code"]) == (422, "reference_unknown")
    assert "payments/f refers to shared/absent" in answer.body["detail"]


async def test_proposer_gets_a_proposal_instead_of_a_write(
    limited: Person, proposer: Person
) -> None:
    refused = await put_entry(proposer, "payments/new", {"value": 1})
    tried = await put_entry(proposer, "payments/new", {"value": 1}, query="?dry_run=true")
    proposed = await put_entry(
        proposer, "payments/new", {"value": 1}, If_None_Match="*", Prefer="proposal"
    )
    foreign = await put_entry(proposer, "search/new", {"value": 1}, query="?propose=true")

    assert (refused.status, refused.body["code"]) == (409, "approval_required")
    assert refused.body["detail"] == (
        "In staging you may propose the change, and not write it. Create a proposal for it."
    )
    assert (tried.status, tried.body["approval_required"]) == (200, True)
    assert (proposed.status, proposed.body["state"]) == (202, "approved")
    assert_foreign(foreign, asked="search/new")
    applied = await limited.act(proposed.body, "apply")
    assert applied.status == 200, applied.body
    by_proposer = await proposer.act(proposed.body, "apply")
    assert (by_proposer.status, by_proposer.body["code"]) == (403, "scope_missing")


async def test_emergency_needs_publish_for_each_covered_key(service: Service) -> None:
    await protect(service, approvals=1, keys=["payments/"])
    path = f"{STAGING}/changes?emergency=true"
    both = {"operations": [put("payments/a", 1), put("other/b", 1)], "message": "Outage"}
    covered = Person(
        service, await service.token(READ, WRITE, Scope.PUBLISH, prefixes=("other/", "payments/"))
    )
    elsewhere = await person(service, READ, WRITE, Scope.PUBLISH, environments=("production",))

    assert (await elsewhere.call("POST", path, both)).status == 403
    written = await covered.call("POST", path, both)

    assert written.status == 200, written.body
    assert written.body["change_sets"][0]["approval"]["emergency"] is True


async def test_stored_answer_needs_the_same_rights(service: Service, limited: Person) -> None:
    headers = {"If_None_Match": "*", "Idempotency_Key": "once"}
    first = await put_entry(limited, "payments/new", {"value": 1}, **headers)
    again = await put_entry(limited, "payments/new", {"value": 1}, **headers)
    async with service.app[DATABASE].connection() as connection:
        await connection.execute(
            "update idempotency_keys set rights = sha256('other') where key = 'once'"
        )
    narrowed = await put_entry(limited, "payments/new", {"value": 1}, **headers)

    assert first.body == again.body
    assert (narrowed.status, narrowed.body["code"]) == (409, "rights_changed")


async def test_change_of_protection_needs_admin_for_all_keys(service: Service) -> None:
    writer = await person(service, READ, WRITE)
    version = (await writer.get(STAGING))["version"]

    answer = await writer.call(
        "PATCH", STAGING, {"protection": {"approvals": 1}}, If_Match=f'"{version}"'
    )

    assert (answer.status, answer.body["code"]) == (403, "scope_missing")


async def test_list_of_a_foreign_key_is_refused(limited: Person) -> None:
    path = f"{STAGING}/lists/search/list"

    patched = await limited.call("PATCH", path, {"add": ["a"]}, If_Match='"1"')
    deleted = await limited.call("POST", f"{STAGING}/changes", {"operations": [delete(FOREIGN, 1)]})

    assert_foreign(patched, asked="search/list")
    assert_foreign(deleted)
