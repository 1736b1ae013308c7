"""Guard cases: a change that gives a guarded context another variant is refused."""

from typing import Any

import pytest

from app.configuration.changes import flag_checks as checking
from tests.conftest import Service
from tests.factories import flag
from tests.loop import longest_share

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
STAFF = {"ends_with": [{"var": "email"}, "@example.org"]}
GUARDS = [
    {"name": "staff", "context": {"email": "a@example.org"}, "variant": "on"},
    {"context": {"email": "a@elsewhere.org"}, "variant": "off"},
    {"context": {}, "variant": "off"},
]


def _guarded(**members: Any) -> dict[str, Any]:
    rule = {"if": [{"$ref": "staff"}, "on", "off"]}
    return flag(targeting=rule, guards=GUARDS) | members


async def _change(service: Service, place: str = LOCAL, **keys: Any) -> tuple[int, Any]:
    """Put entries at their current versions; the value decides between flag and segment."""
    page = await (await service.client.get(f"{place}/configurations")).json()
    versions = {item["key"]: item["version"] for item in page["items"]}
    operations = [
        {
            "op": "put",
            "key": key,
            "version": versions.get(key, 0),
            "value": value,
            "kind": "flag" if "variants" in value else "segment",
        }
        for key, value in keys.items()
    ]
    answer = await service.client.post(f"{place}/changes", json={"operations": operations})
    return answer.status, await answer.json(content_type=None)


async def test_flag_that_passes_its_guards_is_written(service: Service) -> None:
    status, _ = await _change(service, staff=STAFF, new=_guarded())

    assert status == 200


async def test_flag_that_breaks_a_guard_is_refused(service: Service) -> None:
    rule = {"if": [{"$ref": "staff"}, "off", "on"]}

    status, refused = await _change(service, staff=STAFF, new=_guarded(targeting=rule))

    assert (status, refused["code"]) == (422, "guard_broken")
    assert [error["field"] for error in refused["errors"]] == [
        "new.guards[0]",
        "new.guards[1]",
        "new.guards[2]",
    ]
    assert refused["errors"][0]["rule"] == "gets off and must get on (staff)"
    assert (await (await service.client.get(LOCAL)).json())["revision"] == 0


async def test_segment_that_breaks_a_guard_is_refused(service: Service) -> None:
    await _change(service, staff=STAFF, new=_guarded())

    status, refused = await _change(
        service, staff={"ends_with": [{"var": "email"}, "@elsewhere.org"]}
    )
    harmless, _ = await _change(service, other={"==": [{"var": "a"}, 1]})

    assert (status, refused["code"], harmless) == (422, "guard_broken", 200)


async def test_disabled_flag_gets_no_variant(service: Service) -> None:
    await _change(service, staff=STAFF, new=_guarded())

    refused, problem = await _change(service, new=_guarded(state="DISABLED"))
    guards: list[dict[str, object]] = [{"context": {}, "variant": None}]
    allowed, _ = await _change(service, new=_guarded(state="DISABLED", guards=guards))

    assert (refused, allowed) == (422, 200)
    assert problem["errors"][0]["rule"] == "gets no variant and must get on (staff)"


async def test_promotion_and_revert_that_break_guards_are_refused(service: Service) -> None:
    await _change(service, STAGING, staff={"==": [1, 1]}, new=flag(defaultVariant="off"))
    await _change(service, staff=STAFF, new=_guarded())
    await _change(service, STAGING, new=flag(defaultVariant="on"))

    taken = await service.client.post(f"{STAGING}/promote", json={"from": "local", "keys": ["new"]})
    segment = await service.client.post(
        f"{LOCAL}/promote", json={"from": "staging", "keys": ["staff"]}
    )

    assert taken.status == 200
    # Both have the same segment now, because the flag brought it along.
    assert (segment.status, (await segment.json())["change_sets"]) == (200, [])


async def test_change_without_guards_reads_no_flags(service: Service) -> None:
    status, _ = await _change(service, new=flag())

    assert status == 200


async def test_costly_guards_are_refused_without_blocking(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A part of the limit: a step takes ten times as long under coverage, and PostgreSQL ends a
    # transaction that is idle for 30 s.
    monkeypatch.setattr(checking, "GUARD_STEPS_MAX", checking.GUARD_STEPS_MAX // 20)
    # About 10,000 steps, fewer than the limit of an evaluation.
    sums = {"reduce": [[0] * 45, {"+": [{"var": "current"}, 1]}, 0]}
    rule = {"if": [{"map": [[0] * 45, sums]}, "on", "off"]}
    guards = [{"context": {}, "variant": "on"}]

    allowed, _ = await _change(service, new=flag(targeting=rule, guards=guards * 10))
    assert allowed == 200

    async def is_refused() -> None:
        status, refused = await _change(service, new=flag(targeting=rule, guards=guards * 1_000))
        assert (status, refused["code"]) == (422, "guards_costly")
        assert [error["field"] for error in refused["errors"]] == ["new.guards"]

    assert await longest_share(is_refused, limit=0.1) < 0.1


async def test_dry_run_of_a_promotion_checks_guards(service: Service) -> None:
    await _change(service, staff=STAFF, new=_guarded())
    await _change(service, STAGING, staff={"ends_with": [{"var": "email"}, "@elsewhere.org"]})

    codes = []
    for query in ("?dry_run=true", ""):
        answer = await service.client.post(
            f"{LOCAL}/promote{query}", json={"from": "staging", "keys": ["staff"]}
        )
        codes.append((await answer.json(content_type=None))["code"])

    assert codes == ["guard_broken", "guard_broken"]
