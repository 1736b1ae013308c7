"""No kind of write can store a flag that cannot be evaluated."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.api.configuration.flag_changes import (
    LOCAL,
    STAGING,
    change,
    errors_of,
    post,
    put_flag,
    put_segment,
)
from tests.conftest import Service
from tests.factories import flag
from tests.loop import longest_share

NODES = "cannot be evaluated: the rule has more than 2000 nodes"
SMALL = {"==": [{"var": "x"}, 1]}
# Fits into a flag once, but not twice.
LARGE = {"or": [{"==": [{"var": "x"}, n]} for n in range(450)]}
USER = flag(targeting={"if": [{"or": [{"$ref": "wide"}, {"!": {"$ref": "wide"}}]}, "on", "off"]})


async def _get(service: Service, key: str = "user") -> Any:
    path = f"{LOCAL}/flags/{key}/evaluate"
    return (await post(service, path, {"context": {"x": 1}}))[1]["outcome"]


async def _put(service: Service, rule: Any = LARGE) -> tuple[int, Any]:
    answer = await service.client.put(
        f"{LOCAL}/configurations/wide",
        json={"value": rule, "kind": "segment"},
        headers={"If-Match": '"1"'},
    )
    return answer.status, await answer.json()


async def _change_set(service: Service) -> tuple[int, Any]:
    return await change(service, put_segment("wide", LARGE, 1), put_flag("other", flag()))


async def _import(service: Service) -> tuple[int, Any]:
    return await post(service, f"{LOCAL}/import", {"$evaluators": {"wide": LARGE}, "flags": {}})


async def _lenient_import(service: Service) -> tuple[int, Any]:
    document = {"$evaluators": {"wide": LARGE}, "flags": {}}
    return await post(service, f"{LOCAL}/import?lenient=true", document)


async def _promote(service: Service) -> tuple[int, Any]:
    await change(service, put_segment("wide", LARGE), place=STAGING)
    return await post(service, f"{LOCAL}/promote", {"from": "staging", "keys": ["wide"]})


ROADS = [_put, _change_set, _import, _lenient_import, _promote]


@pytest.mark.parametrize("write", ROADS)
async def test_segment_edit_that_breaks_a_flag_is_refused(
    service: Service, write: Callable[[Service], Awaitable[tuple[int, Any]]]
) -> None:
    await change(
        service, put_segment("wide", SMALL), put_flag("user", USER), put_flag("plain", flag())
    )

    status, problem = await write(service)

    assert (status, problem["code"]) == (422, "flag_not_compiling")
    assert errors_of(problem) == [("user", NODES)]
    assert (await _get(service))["variant"] == "on"


async def test_ways_back_to_a_broken_flag_are_refused(service: Service) -> None:
    """Revision 1 has the large segment, 2 a small one, 3 a flag that uses the small one twice."""
    await change(service, put_segment("wide", LARGE))
    await change(service, put_segment("wide", SMALL, 1))
    await change(service, put_flag("user", USER))

    reverted, of_revert = await post(service, f"{LOCAL}/changes/2/revert", {})
    restored, _ = await post(service, f"{LOCAL}/restore", {"revision": 1})

    assert (reverted, errors_of(of_revert)) == (422, [("user", NODES)])
    assert restored == 200, "the flag goes with the restore"


async def test_segment_used_through_another_segment_names_the_flag(service: Service) -> None:
    between = {"or": [{"$ref": "wide"}]}
    user = flag(targeting={"if": [{"or": [{"$ref": "between"}] * 2}, "on", "off"]})
    await change(
        service, put_segment("wide", SMALL), put_segment("between", between), put_flag("user", user)
    )

    _, problem = await _put(service)

    assert errors_of(problem) == [("user", NODES)]


async def test_flag_too_large_with_its_segments_is_refused(service: Service) -> None:
    await change(service, put_segment("wide", LARGE))

    status, problem = await change(service, put_flag("user", USER), put_flag("fine", flag()))

    assert (status, errors_of(problem)) == (422, [("user", NODES)])


async def test_flags_named_in_a_refusal_are_at_most_20(service: Service) -> None:
    await change(
        service, put_segment("wide", SMALL), *(put_flag(f"user-{n:02}", USER) for n in range(25))
    )

    _, problem = await _put(service)

    assert [field for field, _ in errors_of(problem)] == [f"user-{n:02}" for n in range(20)]


async def test_flag_broken_before_does_not_block_a_segment_edit(service: Service) -> None:
    broken = flag(targeting={"if": [{"or": [{"$ref": "wide"}, {"unknown": 1}]}, "on", "off"]})
    await change(service, put_segment("wide", SMALL))
    imported, _ = await post(service, f"{LOCAL}/import?lenient=true", {"flags": {"user": broken}})

    status, _ = await _put(service)
    described, _ = await post(
        service,
        f"{LOCAL}/import?lenient=true",
        {"flags": {"user": broken | {"metadata": {"a": 1}}}},
    )

    assert (imported, status, described) == (200, 200, 200)
    assert (await _get(service))["errorCode"] == "PARSE_ERROR"


@pytest.mark.parametrize(
    "condition",
    [
        {"!": [{"var": ".".join("a" * 2_001)}]},
        {"!": [{"missing": ["a" * 100_000]}]},
        {"some": [[1] * 9_000, {"==": [{"var": ""}, {"var": "x"}]}]},
    ],
    ids=["path", "missing", "loop"],
)
async def test_condition_that_can_never_be_evaluated_is_not_stored(
    service: Service, condition: Any
) -> None:
    of_flag, problem = await change(
        service, put_flag("user", flag(targeting={"if": [condition, "on", "off"]}))
    )
    of_segment, _ = await change(service, put_segment("alone", condition))

    assert (of_flag, of_segment, problem["code"]) == (422, 422, "flag_not_compiling")
    assert problem["errors"][0]["field"] == "user"


@pytest.mark.parametrize(("count", "status"), [(10_000, 201), (10_001, 422)])
async def test_list_of_10000_values_is_the_largest(
    service: Service, count: int, status: int
) -> None:
    customers = [f"customer-{number}" for number in range(count)]

    answer = await service.client.put(
        f"{LOCAL}/configurations/wide",
        json={"value": {"in": [{"var": "x"}, customers]}, "kind": "segment"},
        headers={"If-None-Match": "*"},
    )

    assert answer.status == status, await answer.text()
    if status == 201:
        await change(service, put_flag("user", USER))
        path = f"{LOCAL}/flags/user/evaluate"
        _, evaluated = await post(service, path, {"context": {"x": customers[-1]}})
        assert evaluated["outcome"]["variant"] == "on"
    else:
        rule = "must not have a list of more than 10000 values"
        assert errors_of(await answer.json()) == [("value", rule)]


async def test_disabled_flag_must_compile_too(service: Service) -> None:
    """Otherwise the flag could not be enabled later."""
    await change(
        service, put_segment("wide", SMALL), put_flag("user", USER | {"state": "DISABLED"})
    )

    status, problem = await _put(service)

    assert (status, errors_of(problem)) == (422, [("user", NODES)])


@pytest.mark.slow
async def test_checking_many_flags_leaves_the_event_loop_free(service: Service) -> None:
    document = {"$evaluators": {"wide": SMALL}, "flags": {f"f{n}": USER for n in range(2_000)}}
    await post(service, f"{LOCAL}/import", document)
    # As many nodes as LARGE in a fifth of its bytes, since reading the body is a turn as well.
    short = {"or": [1] * 1_800}

    async def is_refused() -> None:
        status, _ = await _put(service, short)
        assert status == 422

    assert await longest_share(is_refused, limit=0.1) < 0.1
