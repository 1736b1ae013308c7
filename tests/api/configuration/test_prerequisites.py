"""Flags that need other flags over HTTP: a change that would break a need is refused."""

import asyncio
from typing import Any

import pytest

from app.evaluation.compiler import FLAG_LEVELS_MAX
from tests.api.configuration.flag_changes import (
    LOCAL,
    NEW,
    STAGING,
    change,
    delete,
    errors_of,
    post,
    put_flag,
)
from tests.conftest import Service
from tests.factories import flag


def needing(*flags: str, variant: str = "on") -> dict[str, Any]:
    """Make a flag with prerequisites."""
    prerequisites = [{"flag": key, "variant": variant} for key in flags]
    return flag(defaultVariant="on", offVariant="off", prerequisites=prerequisites)


def reading(*flags: str) -> dict[str, Any]:
    """Make a flag that needs others in its targeting."""
    rule = {"and": [{"flag": [key, "on"]} for key in flags]}
    return flag(defaultVariant="off", targeting={"if": [rule, "on"]})


ON = flag(defaultVariant="on")
# The variant `off` has another name.
RENAMED = {**ON, "variants": {"on": True, "none": False}}
NEEDED_OFF = ("shop", "needs the variant off of payments")


@pytest.mark.parametrize("make", [needing, reading])
@pytest.mark.parametrize("target", [None, "setting"])
async def test_unknown_flag_is_refused(service: Service, make: Any, target: str | None) -> None:
    if target:
        await change(service, {"op": "put", "key": "payments", "value": 1, "version": 0})

    status, problem = await change(service, put_flag("shop", make("payments")))

    assert (status, problem["code"]) == (422, "prerequisite_unknown")
    assert errors_of(problem) == [("shop", "needs payments, which is no flag")]


async def test_unknown_variant_is_refused(service: Service) -> None:
    await change(service, put_flag("payments", ON))

    status, problem = await change(service, put_flag("shop", needing("payments", variant="x")))

    assert (status, problem["code"]) == (422, "prerequisite_unknown")
    assert errors_of(problem) == [("shop", "needs the variant x, which payments does not have")]


@pytest.mark.parametrize(
    "members",
    [
        {"prerequisites": {}},
        {"prerequisites": [1]},
        {"prerequisites": [{"flag": "a"}]},
        {"prerequisites": [{"flag": "a", "variant": "on", "x": 1}]},
        {"prerequisites": [{"flag": "", "variant": "on"}]},
        {"prerequisites": [{"flag": "a", "variant": None}]},
        {"prerequisites": [{"flag": "a", "variant": v} for v in ("on", "off")]},
        {"prerequisites": [{"flag": f"f{n}", "variant": "on"} for n in range(21)]},
        {"offVariant": "x"},
        {"targeting": {"if": [{"flag": []}, "on"]}},
        {"targeting": {"if": [{"flag": ["a", {"var": "x"}]}, "on"]}},
        {"targeting": {"flag": ["a", "on"]}},
    ],
)
async def test_malformed_prerequisite_is_refused(service: Service, members: Any) -> None:
    answer = await service.client.put(
        f"{LOCAL}/configurations/shop", json={"value": flag(**members), "kind": "flag"}, headers=NEW
    )

    assert (answer.status, (await answer.json())["code"]) == (422, "flag_invalid")


async def test_flag_that_needs_itself_is_refused(service: Service) -> None:
    status, problem = await change(service, put_flag("shop", needing("shop")))

    assert (status, problem["code"]) == (422, "prerequisite_circular")
    assert errors_of(problem) == [("shop", "needs shop, and so to itself")]


async def test_circle_through_stored_flags_is_refused(service: Service) -> None:
    await change(service, put_flag("c", ON))
    await change(service, put_flag("b", reading("c")))
    await change(service, put_flag("a", needing("b")))

    status, problem = await change(service, put_flag("c", needing("a"), 1))

    assert (status, problem["code"]) == (422, "prerequisite_circular")
    assert problem["detail"] == "Flags need each other in a circle: a → b → c → a."


async def test_circle_within_a_change_set_is_refused(service: Service) -> None:
    status, problem = await change(
        service, put_flag("a", needing("b")), put_flag("b", needing("a"))
    )

    assert (status, problem["code"]) == (422, "prerequisite_circular")


async def test_chain_beyond_the_limit_is_refused_at_each_end(service: Service) -> None:
    last = FLAG_LEVELS_MAX
    chain = [put_flag(f"f{n:02}", needing(f"f{n + 1:02}")) for n in range(last)]
    stored, _ = await change(service, *chain, put_flag(f"f{last:02}", ON), put_flag("end", ON))

    above = await change(service, put_flag("new", needing("f00")))
    below = await change(service, put_flag(f"f{last:02}", needing("end"), 1))
    middle = await change(service, put_flag("new", needing("f01")))

    assert stored == 200
    assert [(status, problem["code"]) for status, problem in (above, below)] == [
        (422, "prerequisite_deep")
    ] * 2
    assert middle[0] == 200


async def test_needed_flag_cannot_be_deleted(service: Service) -> None:
    await change(
        service,
        put_flag("payments", ON),
        put_flag("shop", needing("payments")),
        put_flag("cart", flag(targeting={"if": [{"==": [{"flag": ["payments"]}, "x"]}, "on"]})),
        put_flag("plain", flag(guards=[{"context": {"flag": "payments"}, "variant": None}])),
    )

    refused = await service.client.delete(
        f"{LOCAL}/configurations/payments", headers={"If-Match": '"1"'}
    )

    problem = await refused.json()
    assert (refused.status, problem["code"]) == (409, "flag_needed")
    assert errors_of(problem) == [
        ("cart", "needs payments"),
        ("shop", "needs the variant on of payments"),
    ]


async def test_needed_variant_cannot_be_renamed(service: Service) -> None:
    await change(
        service, put_flag("payments", ON), put_flag("shop", needing("payments", variant="off"))
    )

    refused, problem = await change(service, put_flag("payments", RENAMED, 1))
    single = await service.client.put(
        f"{LOCAL}/configurations/payments",
        json={"value": RENAMED, "kind": "flag"},
        headers={"If-Match": '"1"'},
    )
    together, _ = await change(
        service,
        put_flag("payments", RENAMED, 1),
        put_flag("shop", needing("payments", variant="none"), 1),
    )

    assert (refused, problem["code"], errors_of(problem)) == (409, "flag_needed", [NEEDED_OFF])
    assert (single.status, together) == (409, 200)


async def test_variant_renamed_beside_its_user_is_refused(service: Service) -> None:
    needs = needing("payments", variant="off")
    await change(service, put_flag("payments", ON), put_flag("shop", needs))

    status, problem = await change(
        service, put_flag("payments", RENAMED, 1), put_flag("shop", {**needs, "metadata": {}}, 1)
    )

    assert (status, problem["code"]) == (422, "prerequisite_unknown")


async def test_revert_never_breaks_a_need(service: Service) -> None:
    await change(service, put_flag("payments", ON))
    await change(service, put_flag("shop", needing("payments")))

    refused, problem = await post(service, f"{LOCAL}/changes/1/revert", {})
    empty, _ = await post(service, f"{LOCAL}/restore", {"revision": 0})
    back, problem_back = await post(service, f"{LOCAL}/changes/2/revert", {})
    whole, _ = await post(service, f"{LOCAL}/restore", {"revision": 2})

    assert (refused, problem["code"]) == (409, "flag_needed")
    assert (empty, whole) == (200, 200)
    assert (back, problem_back["code"]) == (412, "version_stale")


async def test_circle_through_a_revert_is_refused(service: Service) -> None:
    await change(service, put_flag("a", ON), put_flag("b", ON))
    await change(service, put_flag("a", needing("b"), 1))
    await change(service, put_flag("a", ON, 2))
    await change(service, put_flag("b", needing("a"), 1))

    status, problem = await post(service, f"{LOCAL}/changes/3/revert", {})

    assert (status, problem["code"]) == (422, "prerequisite_circular")


async def test_promotion_takes_needed_flags_along(service: Service) -> None:
    await change(
        service,
        put_flag("base", ON),
        put_flag("payments", needing("base")),
        put_flag("shop", reading("payments")),
        place=STAGING,
    )
    body = {"from": "staging", "keys": ["shop"]}

    dry, tried = await post(service, f"{LOCAL}/promote?dry_run=true", body)
    status, promoted = await post(service, f"{LOCAL}/promote", body)

    assert (dry, status) == (200, 200)
    for answer in (tried, promoted):
        change_set = answer["change_sets"][0]
        assert [item["key"] for item in change_set["changes"]] == ["base", "payments", "shop"]


async def test_promotion_turns_the_need_of_two_flags_round(service: Service) -> None:
    await change(service, put_flag("a", ON), put_flag("b", needing("a")))
    await change(service, put_flag("b", ON), put_flag("a", needing("b")), place=STAGING)

    status, promoted = await post(service, f"{LOCAL}/promote", {"from": "staging", "keys": ["a"]})

    assert status == 200
    assert [item["key"] for item in promoted["change_sets"][0]["changes"]] == ["a", "b"]


async def test_promotion_that_removes_a_needed_variant_is_refused(service: Service) -> None:
    await change(
        service, put_flag("payments", ON), put_flag("shop", needing("payments", variant="off"))
    )
    await change(service, put_flag("payments", RENAMED), place=STAGING)

    status, problem = await post(
        service, f"{LOCAL}/promote", {"from": "staging", "keys": ["payments"]}
    )

    assert (status, problem["code"], errors_of(problem)) == (409, "flag_needed", [NEEDED_OFF])


async def test_import_with_a_circle_is_refused(service: Service) -> None:
    await change(service, put_flag("a", ON), put_flag("b", needing("a")))

    status, problem = await post(service, f"{LOCAL}/import", {"flags": {"a": needing("b")}})
    lenient, answer = await post(
        service, f"{LOCAL}/import?lenient=true", {"flags": {"a": needing("b"), "c": needing("x")}}
    )

    assert (status, problem["code"]) == (422, "prerequisite_circular")
    assert lenient == 200
    assert "c: needs x, which is no flag" in str(answer["warnings"])
    assert "a: needs b" in str(answer["warnings"])


async def test_two_writers_cannot_close_a_circle_together(service: Service) -> None:
    await change(service, put_flag("a", ON), put_flag("b", ON))

    async def write(key: str, needed: str) -> int:
        answer = await service.client.put(
            f"{LOCAL}/configurations/{key}",
            json={"value": needing(needed), "kind": "flag"},
            headers={"If-Match": '"1"'},
        )
        return answer.status

    statuses = await asyncio.gather(write("a", "b"), write("b", "a"))

    assert sorted(statuses) == [200, 422]


async def test_writer_cannot_remove_what_another_begins_to_need(service: Service) -> None:
    for number in range(5):
        await change(service, put_flag(f"p{number}", ON))

        async def write(key: str, value: Any, headers: dict[str, str]) -> int:
            answer = await service.client.put(
                f"{LOCAL}/configurations/{key}",
                json={"value": value, "kind": "flag"},
                headers=headers,
            )
            return answer.status

        needs = needing(f"p{number}", variant="off")
        statuses = await asyncio.gather(
            write(f"p{number}", RENAMED, {"If-Match": '"1"'}),
            write(f"s{number}", needs, NEW),
            write(f"t{number}", needs, NEW),
        )

        assert sorted(statuses) in ([200, 422, 422], [201, 201, 409]), statuses


async def test_flag_needed_by_itself_alone_is_deleted(service: Service) -> None:
    await change(service, put_flag("payments", ON), put_flag("shop", needing("payments")))

    status, _ = await change(service, delete("payments"), delete("shop"))

    assert status == 200
