"""Reads of the history by a token whose rights are limited to prefixes show its own keys alone."""

import pytest

from app.access.models import Scope
from tests.api.configuration.limited_caller import FOREIGN, LOCAL, OWN, Caller, limited_caller
from tests.conftest import Service


@pytest.fixture
async def caller(service: Service) -> Caller:
    return await limited_caller(service)


async def test_change_sets_are_those_of_own_keys(caller: Caller) -> None:
    page = await caller.get(f"{LOCAL}/changes")

    assert [item["revision"] for item in page["items"]] == [4, 3, 1]
    properties, both, start = page["items"]
    assert properties["properties"]["after"]["metadata"] == {"owner": "platform"}
    assert (properties["changes"], properties["changes_count"]) == ([], 0)
    assert [change["key"] for change in both["changes"]] == ["payments/eu/token", OWN]
    assert (both["changes_count"], both["message"]) == (2, "Both")
    assert {item["hash"] for item in page["items"]} == {None}
    assert (start["changes_count"], page["next"]) == (1, None)


async def test_page_of_change_sets_is_full_and_has_a_cursor(caller: Caller) -> None:
    first = await caller.get(f"{LOCAL}/changes?limit=2")
    second = await caller.get(f"{LOCAL}/changes?limit=2&before={first['next']}")

    assert [item["revision"] for item in first["items"]] == [4, 3]
    assert [item["revision"] for item in second["items"]] == [1]


async def test_foreign_change_set_is_as_if_unknown(caller: Caller) -> None:
    foreign = await caller.get(f"{LOCAL}/changes/2", 404)
    unknown = await caller.get(f"{LOCAL}/changes/99", 404)
    later = await caller.get(f"{LOCAL}/changes/2?after=a&limit=1", 404)

    same = {"code", "detail", "title", "status"}
    assert {name: foreign[name] for name in same} == {name: unknown[name] for name in same}
    assert foreign["code"] == later["code"] == "revision_unknown"


async def test_change_set_has_own_keys_in_pages(caller: Caller) -> None:
    first = await caller.get(f"{LOCAL}/changes/3?limit=1")
    second = await caller.get(f"{LOCAL}/changes/3?limit=1&after={first['next']}")

    assert [change["key"] for change in first["changes"]] == ["payments/eu/token"]
    assert [change["key"] for change in second["changes"]] == [OWN]
    assert (first["changes_count"], second["next"]) == (2, None)


async def test_history_of_a_foreign_key_is_refused(caller: Caller) -> None:
    own = await caller.get(f"{LOCAL}/configurations/{OWN}/history")
    refusals = [
        await caller.get(f"{LOCAL}/configurations/{key}/history", 403)
        for key in (FOREIGN, "zebra/none")
    ]

    assert [item["revision"] for item in own["items"]] == [3, 1]
    assert {refusal["code"] for refusal in refusals} == {"key_foreign"}


async def test_difference_of_revisions_has_own_keys(caller: Caller) -> None:
    for after in range(6):
        for before in range(6):
            await caller.get(f"{LOCAL}/diff?from={before}&to={after}")
    whole = await caller.get(f"{LOCAL}/diff?from=0")
    first = await caller.get(f"{LOCAL}/diff?from=0&limit=1")
    hidden = await caller.get(f"{LOCAL}/diff?from=4")

    assert [change["key"] for change in whole["changes"]] == ["payments/eu/token", OWN]
    assert ([change["key"] for change in first["changes"]], first["next"]) == (
        ["payments/eu/token"],
        "payments/eu/token",
    )
    assert (hidden["changes"], hidden["properties"]) == ([], None)


async def test_difference_of_distant_revisions_has_own_keys(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.configuration.changes.past.NEAR_REVISIONS", 0)

    difference = await caller.get(f"{LOCAL}/diff?from=0&to=5")

    assert [change["key"] for change in difference["changes"]] == ["payments/eu/token", OWN]


async def test_environments_are_compared_by_keys_of_both_sides(
    service: Service, caller: Caller
) -> None:
    refusal = await caller.get(f"{LOCAL}/diff?against=staging", 403)
    token = await service.token(Scope.READ, prefixes=("payments/eu/",))
    narrow = Caller(service, token)
    difference = await narrow.get(f"{LOCAL}/diff?against=staging")

    assert refusal["code"] == "environment_foreign"
    assert [change["key"] for change in difference["changes"]] == ["payments/eu/token"]


async def test_list_values_need_the_key(service: Service) -> None:
    for key in ("payments/staff", "zebra/staff"):
        async with service.client.put(
            f"{LOCAL}/lists/{key}",
            data="value\nokapi\n" if key.startswith("zebra") else "value\nada\n",
            headers={"If-None-Match": "*", "Content-Type": "text/csv"},
        ) as answer:
            assert answer.status == 201, await answer.text()
    token = await service.token(Scope.READ, prefixes=("payments/",))
    caller = Caller(service, token)

    for part in ("values", "export"):
        for moment in ("", "?revision=2"):
            assert "ada" in str(await caller.get(f"{LOCAL}/lists/payments/staff/{part}{moment}"))
            refusal = await caller.get(f"{LOCAL}/lists/zebra/staff/{part}{moment}", 403)
            assert refusal["code"] == "key_foreign"
