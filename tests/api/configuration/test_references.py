"""Flags and segments over HTTP: invalid ones and broken references are refused."""

from typing import Any

import pytest

from app.configuration.changes import service as changes
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.models import Content, Kind, Operation
from app.http.keys import DATABASE
from tests.api.configuration.flag_changes import (
    LOCAL,
    NEW,
    STAFF,
    STAGING,
    change,
    delete,
    errors_of,
    post,
    put_flag,
    put_segment,
    targeting,
    using,
)
from tests.conftest import Service
from tests.factories import flag


async def _revision(service: Service, place: str = LOCAL) -> int:
    revision: int = (await (await service.client.get(place)).json())["revision"]
    return revision


# Definitions


async def test_invalid_flag_is_refused_with_each_path(service: Service) -> None:
    wrong = flag(state="ON", targeting={"if": [{"sem_ver": [{"var": "v"}, "=", "1"]}, "blue"]})

    answer = await service.client.put(
        f"{LOCAL}/configurations/new-shop", json={"value": wrong, "kind": "flag"}, headers=NEW
    )

    problem = await answer.json()
    assert (answer.status, problem["code"]) == (422, "flag_invalid")
    assert errors_of(problem) == [
        ("value.state", "must be ENABLED or DISABLED"),
        (
            "value.targeting.if[0].sem_ver[2]",
            "must be a full version, such as 1.2.3, or a var",
        ),
    ]
    assert await _revision(service) == 0


async def test_invalid_segment_in_change_set_is_refused(service: Service) -> None:
    status, problem = await change(
        service, put_segment("staff", STAFF), put_segment("other", {}), put_flag("f", [])
    )

    assert (status, problem["code"]) == (422, "operations_invalid")
    assert errors_of(problem) == [
        ("operations[1].value", "must have one operator"),
        ("operations[2].value", "must be an object"),
    ]


async def test_invalid_flag_in_document_is_refused(service: Service) -> None:
    answer = await service.client.post(
        f"{LOCAL}/import", json={"flags": {"good": flag(), "bad": {"state": "ENABLED"}}}
    )

    problem = await answer.json()
    assert (answer.status, problem["code"]) == (422, "entries_invalid")
    assert errors_of(problem) == [
        ("bad.value.variants", "must be an object with at least one member")
    ]


# References


async def test_reference_to_missing_segment_is_refused(service: Service) -> None:
    await change(service, put_flag("a-flag", flag()))

    status, problem = await change(
        service,
        put_flag("one", targeting("a-flag", "missing")),
        put_segment("two", using("missing")),
    )

    assert (status, problem["code"]) == (422, "reference_unknown")
    assert errors_of(problem) == [
        ("one", "refers to a-flag, which is no segment"),
        ("one", "refers to missing, which is no segment"),
        ("two", "refers to missing, which is no segment"),
    ]
    assert await _revision(service) == 1


async def test_reference_within_change_set_is_accepted(service: Service) -> None:
    status, _ = await change(
        service,
        put_flag("a", targeting("ours")),
        put_segment("ours", using("staff", "testers")),
        put_segment("staff", STAFF),
        put_segment("testers", STAFF),
    )
    alone, _ = await change(service, put_flag("b", targeting("ours", "staff")))

    assert (status, alone) == (200, 200)


@pytest.mark.parametrize("variants", [{"on": True}, {"on": {"$ref": "missing"}}])
async def test_reference_outside_rules_is_ignored(
    service: Service, variants: dict[str, Any]
) -> None:
    """In a value or a guard's context, an object like a reference is plain data."""
    guards = [{"context": {"$ref": "missing"}, "variant": "on"}]
    guarded = flag(variants=variants, defaultVariant="on", guards=guards)
    await change(service, put_segment("missing", STAFF))

    status, _ = await change(service, put_flag("f", guarded))
    deleted, _ = await change(service, delete("missing"))

    assert (status, deleted) == (200, 200)


async def test_circular_reference_is_refused(service: Service) -> None:
    await change(
        service, put_segment("a", using("b")), put_segment("b", using("c")), put_segment("c", STAFF)
    )

    status, problem = await change(service, put_segment("c", using("a"), 1))
    itself, of_one = await change(service, put_segment("d", using("d")))

    assert (status, problem["code"]) == (422, "reference_circular")
    assert sorted(errors_of(problem)) == [
        ("a", "refers to b, and so to itself"),
        ("b", "refers to c, and so to itself"),
        ("c", "refers to a, and so to itself"),
    ]
    assert "a → b" in problem["detail"]
    assert (itself, errors_of(of_one)) == (422, [("d", "refers to d, and so to itself")])


async def test_circle_avoided_within_change_set_is_accepted(service: Service) -> None:
    """References are checked after the whole change set, not before."""
    await change(service, put_segment("a", using("b")), put_segment("b", STAFF))

    status, _ = await change(service, put_segment("b", using("a"), 1), put_segment("a", STAFF, 1))

    assert status == 200


async def test_used_segment_cannot_be_deleted(service: Service) -> None:
    await change(
        service,
        put_segment("staff", STAFF),
        put_segment("ours", using("staff", "staff")),
        put_flag("shop", targeting("ours", "staff")),
        put_flag("plain", flag()),
    )

    refused = await service.client.delete(
        f"{LOCAL}/configurations/staff", headers={"If-Match": '"1"'}
    )

    problem = await refused.json()
    assert (refused.status, problem["code"]) == (409, "segment_in_use")
    assert errors_of(problem) == [("ours", "refers to staff"), ("shop", "refers to staff")]


async def test_segment_is_deleted_with_or_after_its_users(service: Service) -> None:
    await change(
        service,
        put_segment("staff", STAFF),
        put_segment("ours", using("staff")),
        put_flag("shop", targeting("ours", "staff")),
    )

    too_early, _ = await change(service, delete("staff"), delete("ours"))
    still, _ = await change(
        service, delete("staff"), delete("ours"), put_flag("shop", targeting("ours"), 1)
    )
    together, _ = await change(
        service, delete("staff"), delete("ours"), put_flag("shop", flag(), 1)
    )

    assert (too_early, still, together) == (409, 422, 200)


# Ways back


async def test_revert_never_breaks_a_reference(service: Service) -> None:
    """Revision 1 adds the segment, revision 2 the flag that uses it."""
    await change(service, put_segment("staff", STAFF))
    await change(service, put_flag("shop", targeting("staff")))

    reverted, problem = await post(service, f"{LOCAL}/changes/1/revert", {})
    restored, _ = await post(service, f"{LOCAL}/restore", {"revision": 1})
    empty, _ = await post(service, f"{LOCAL}/restore", {"revision": 0})
    back, problem_back = await post(service, f"{LOCAL}/changes/3/revert", {})
    whole, _ = await post(service, f"{LOCAL}/restore", {"revision": 2})

    assert (reverted, problem["code"], errors_of(problem)) == (
        409,
        "segment_in_use",
        [("shop", "refers to staff")],
    )
    assert (restored, empty, whole) == (200, 200, 200)
    assert (back, problem_back["code"]) == (422, "reference_unknown")


async def test_segment_changed_to_setting_counts_as_deleted(service: Service) -> None:
    """An edit cannot change the kind of a key, but a promotion can."""
    setting = {"op": "put", "key": "staff", "value": 1, "version": 0}
    await change(service, setting, place=STAGING)
    await change(service, put_segment("staff", STAFF), put_flag("shop", targeting("staff")))

    status, problem = await post(
        service, f"{LOCAL}/promote", {"from": "staging", "keys": ["staff"]}
    )

    assert (status, problem["code"]) == (409, "segment_in_use")
    assert errors_of(problem) == [("shop", "refers to staff")]


async def test_promotion_never_breaks_a_reference(service: Service) -> None:
    """A flag is promoted with its segments; a segment deleted at the source stays in use."""
    both = (put_segment("staff", STAFF), put_segment("ours", using("staff")))
    await change(service, *both)
    await change(service, *both, put_flag("shop", targeting("ours")), place=STAGING)
    await change(service, delete("ours"), delete("staff"))
    await change(service, put_flag("new-shop", flag()))

    status, problem = await post(
        service, f"{STAGING}/promote", {"from": "local", "keys": ["new-shop", "staff"]}
    )
    whole, promoted = await post(service, f"{LOCAL}/promote", {"from": "staging", "keys": ["shop"]})

    assert (status, errors_of(problem)) == (409, [("ours", "refers to staff")])
    assert whole == 200
    assert [c["key"] for c in promoted["change_sets"][0]["changes"]] == ["ours", "shop", "staff"]


async def test_document_references_are_checked(service: Service) -> None:
    document = {"flags": {"shop": targeting("staff")}, "$evaluators": {"staff": STAFF}}

    alone, problem = await post(service, f"{LOCAL}/import", {"flags": document["flags"]})
    whole, _ = await post(service, f"{LOCAL}/import", document)
    emptied, _ = await post(service, f"{LOCAL}/import?mode=replace&format=flagd", {"flags": {}})

    assert (alone, problem["code"]) == (422, "reference_unknown")
    assert (whole, emptied) == (200, 200)


async def test_dry_run_is_refused_like_the_change(service: Service) -> None:
    status, problem = await post(
        service,
        f"{LOCAL}/changes?dry_run=true",
        {"operations": [put_flag("shop", targeting("missing"))]},
    )

    assert (status, problem["code"]) == (422, "reference_unknown")


# Number of statements


async def test_references_are_read_once_if_any(service: Service) -> None:
    """A chain of segments of any length needs one statement.

    A changed segment needs two more: for flags that use it, and for guards. A removed flag needs
    one more: for flags that need it.
    """
    chain = [
        put_segment("s0", STAFF),
        *(put_segment(f"s{n}", using(f"s{n - 1}")) for n in range(1, 25)),
    ]
    await change(service, *chain)
    setting, plain = Content(kind=Kind.SETTING, value=1), Content(kind=Kind.FLAG, value=flag())
    referring = Content(kind=Kind.FLAG, value=targeting("s24", "s7"))
    within = Content(kind=Kind.FLAG, value=targeting("free"))
    free = Content(kind=Kind.SEGMENT, value=STAFF)

    puts: list[dict[str, Content | None]] = [
        {"setting": setting},
        {"plain": plain},
        {"free": free, "within": within},
        {"a": referring, "b": referring},
    ]
    cost = [await _statements(service, contents) for contents in puts]
    removal = [
        await _statements(service, dict.fromkeys(keys))
        for keys in (("setting",), ("plain", "a"), ("within", "free", "s24", "b"))
    ]

    assert [statements - cost[0] for statements in cost] == [0, 0, 2, 2]
    assert [statements - removal[0] for statements in removal] == [0, 1, 3]


async def _statements(service: Service, contents: dict[str, Content | None]) -> int:
    """Make the change, and return the number of statements."""
    seen: list[object] = []
    operations = [Operation(key=k, content=c, expected=None) for k, c in contents.items()]
    async with service.app[DATABASE].connection() as connection:
        with connection.query_logger(seen.append):
            await changes.apply(
                connection, "local", operations, actor="test", authority=OPERATOR_AUTHORITY
            )
    return len(seen)
