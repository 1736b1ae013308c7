"""Reads of a caller whose rights are limited to key prefixes: own keys, and nothing of others."""

from typing import Any

import pytest

from app.configuration.snapshots.reading import FOLLOWER
from tests.api.access.limited import (
    FOREIGN,
    LOCAL,
    OWN,
    Answer,
    Limited,
    change,
    change_theirs,
    fill,
    put,
)
from tests.conftest import Service
from tests.factories import flag

BULK = f"{LOCAL}/ofrep/v1/evaluate/flags"
STAFF = {"context": {"targetingKey": "u", "email": "a@example.org"}}
DRAFT = {"changes": {"shop/staff": {"kind": "segment", "value": {"!!": [{"var": "email"}]}}}}
GETS = (
    "/v1/environments",
    LOCAL,
    f"{LOCAL}/configurations",
    f"{LOCAL}/configurations?limit=2",
    f"{LOCAL}/configurations?kind=flag",
    f"{LOCAL}/configurations?prefix=shop",
    f"{LOCAL}/configurations?after=common",
    f"{LOCAL}/configurations?revision=1",
    f"{LOCAL}/configurations/shop/checkout",
    f"{LOCAL}/configurations/shop/limit?revision=2",
    f"{LOCAL}/flags/usage",
    f"{LOCAL}/flags.json",
    f"{LOCAL}/export?format=json",
    f"{LOCAL}/export?format=yaml",
    f"{LOCAL}/export?format=env",
    f"{LOCAL}/export?format=flagd",
    f"{LOCAL}/export?format=flagd&revision=2",
    "/v1/flags",
)
POSTS: tuple[tuple[str, Any], ...] = (
    (BULK, STAFF),
    (f"{BULK}/shop/checkout", STAFF),
    ("/ofrep/v1/evaluate/flags", STAFF),
    ("/ofrep/v1/evaluate/flags/shop/checkout", STAFF),
    (f"{LOCAL}/flags/shop/checkout/evaluate", STAFF),
    (f"{LOCAL}/flags/shop/checkout/evaluate", {**STAFF, "revision": 2}),
    (f"{LOCAL}/preview", {**DRAFT, "contexts": [STAFF["context"]]}),
    ("/flagd.sync.v1.FlagSyncService/FetchAllFlags", {}),
)


@pytest.fixture
async def limited(service: Service) -> Limited:
    await fill(service)
    return await Limited.of(service)


async def every_answer(limited: Limited) -> dict[str, Answer]:
    answers = {path: await limited.get(path) for path in GETS}
    answers |= {f"{path} {body}": await limited.post(path, body) for path, body in POSTS}
    assert {name: a.text for name, a in answers.items() if a.status != 200} == {}
    return answers


async def test_answer_contains_nothing_of_others(limited: Limited) -> None:
    answers = await every_answer(limited)

    assert [name for name, answer in answers.items() if not answer.is_free_of_foreign] == []


async def test_answer_does_not_depend_on_entries_of_others(limited: Limited) -> None:
    follower = limited.service.app[FOLLOWER]
    before, revision = await every_answer(limited), follower.get("local").revision

    await change_theirs(limited.service)

    after, later = await every_answer(limited), follower.get("local").revision
    assert later > revision
    texts = {name: answer.at_any(revision) for name, answer in before.items()}
    assert {name: answer.at_any(later) for name, answer in after.items()} == texts
    etags = {name: answer.etag for name, answer in before.items()}
    assert {name: answer.etag for name, answer in after.items()} == etags


async def test_list_has_pages_of_own_keys(limited: Limited) -> None:
    first = (await limited.get(f"{LOCAL}/configurations?limit=2")).body
    second = (await limited.get(f"{LOCAL}/configurations?limit=2&after={first['next']}")).body

    assert [item["key"] for item in first["items"] + second["items"]] == sorted(OWN)
    assert second["next"] is None


@pytest.mark.parametrize(
    "key", ["common/vip", "common/nothing", "shop", "shop-tresor", "z-tresor/text"]
)
async def test_foreign_key_is_refused_whether_it_exists_or_not(limited: Limited, key: str) -> None:
    answers = [
        await limited.get(f"{LOCAL}/configurations/{key}"),
        await limited.get(f"{LOCAL}/configurations/{key}?revision=1"),
        await limited.get(f"{LOCAL}/flags/{key}/plan"),
        await limited.get(f"{LOCAL}/lists/{key}/values"),
        await limited.get(f"{LOCAL}/lists/{key}/export"),
        await limited.post(f"{LOCAL}/flags/{key}/evaluate", STAFF),
        await limited.post(f"{LOCAL}/preview", {"changes": {key: None}}),
    ]

    assert [(answer.status, answer.body["code"]) for answer in answers] == [
        (403, "key_foreign")
    ] * 7
    evaluated = [await limited.post(f"{base}/{key}", STAFF) for base in (BULK, BULK[len(LOCAL) :])]
    assert [answer.status for answer in evaluated] == [403, 403]


async def test_own_flag_is_evaluated_by_all_rules(limited: Limited) -> None:
    """The segment and the flag of the other team decide, and stay hidden."""
    vip = {"context": {**STAFF["context"], "vault": FOREIGN}}

    outcomes = [(await limited.post(f"{BULK}/shop/checkout", body)).body for body in (STAFF, vip)]
    bulk = (await limited.post(BULK, STAFF)).body["flags"]

    assert [outcome["variant"] for outcome in outcomes] == ["on", "off"]
    assert {item["key"]: item["variant"] for item in bulk} == {
        "shop/banner": "on",
        "shop/checkout": "on",
    }


async def test_bulk_etag_follows_what_own_flags_use(limited: Limited) -> None:
    first = await limited.post(BULK, STAFF)
    tag = {"If_None_Match": first.etag or ""}

    await change_theirs(limited.service)
    unchanged = await limited.post(BULK, STAFF, **tag)
    await change(limited.service, put("common/vip", "segment", {"and": [True]}, 1))
    changed = await limited.post(BULK, STAFF, **tag)

    assert (unchanged.status, changed.status) == (304, 200)
    assert {item["key"]: item["variant"] for item in changed.body["flags"]}[
        "shop/checkout"
    ] == "off"


async def test_trace_hides_what_others_have_written(limited: Limited) -> None:
    answer = await limited.post(f"{LOCAL}/flags/shop/checkout/evaluate", STAFF)

    prerequisite, rule = answer.body["steps"]
    assert (prerequisite["operands"], prerequisite["outcome"]) == (["common/switch", "on"], True)
    assert "needed" not in prerequisite
    (conjunction,) = rule["steps"]
    own, negation = conjunction["steps"]
    assert own["operator"] == "ends_with"
    (hidden,) = negation["steps"]
    assert (hidden["operator"], hidden["operands"]) == ("$ref", ["common/vip"])
    assert (hidden["outcome"], hidden.get("steps", [])) == (False, [])


async def test_document_leaves_out_flags_that_need_others(limited: Limited) -> None:
    flags_json = await limited.get(f"{LOCAL}/flags.json")
    exported = await limited.get(f"{LOCAL}/export?format=flagd")

    assert "'Flagstone-Left-Out': 'shop/checkout'" in flags_json.headers
    for document in (flags_json.body, exported.body):
        assert list(document["flags"]) == ["shop/banner"]
        assert list(document["$evaluators"]) == ["shop/staff"]


async def test_prefix_of_shared_entries_completes_the_document(service: Service) -> None:
    await fill(service)
    limited = await Limited.of(service, prefixes=("shop/", "common/"))

    flags_json = await limited.get(f"{LOCAL}/flags.json")

    assert "Flagstone-Left-Out" not in flags_json.headers
    assert set(flags_json.body["flags"]) == {"common/switch", "shop/banner", "shop/checkout"}


async def test_preview_names_own_flags_alone(limited: Limited) -> None:
    """A segment of the team is used by flags of others, too."""
    answer = await limited.post(f"{LOCAL}/preview", DRAFT)

    assert answer.body["refusals"] == []
    assert [item["key"] for item in answer.body["flags"]] == ["shop/checkout"]
    assert answer.body["flags_count"] == 1


async def test_refusal_of_a_preview_counts_no_others(limited: Limited) -> None:
    answer = await limited.post(f"{LOCAL}/preview", {"changes": {"shop/staff": None}})

    (refusal,) = answer.body["refusals"]
    assert refusal["code"] == "segment_in_use"
    assert refusal["detail"].startswith("shop/checkout refers to shop/staff. Entries outside of")
    assert [item["field"] for item in refusal["errors"]] == ["shop/checkout"]


async def test_guard_of_another_team_stays_hidden_in_a_preview(service: Service) -> None:
    guarded = flag(
        defaultVariant="off",
        targeting={"if": [{"$ref": "shop/staff"}, "on"]},
        guards=[{"name": FOREIGN, "context": {"email": "a@example.org"}, "variant": "on"}],
    )
    await fill(service)
    await change(service, put("a-tresor/guarded", "flag", guarded))
    limited = await Limited.of(service)

    answer = await limited.post(
        f"{LOCAL}/preview",
        {"changes": {"shop/staff": {"kind": "segment", "value": {"and": [False]}}}},
    )

    (refusal,) = answer.body["refusals"]
    assert refusal["code"] == "guard_broken"
    assert refusal["errors"] == []
    assert answer.is_free_of_foreign


async def test_closed_routes_stay_closed(limited: Limited) -> None:
    answers = [await limited.get(path) for path in ("/health", "/metrics")]

    assert [(a.status, a.body["code"]) for a in answers] == [(403, "all_keys_needed")] * 2
