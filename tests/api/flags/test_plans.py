"""Plans over HTTP: stored, read at any time, controlled, and recorded in the history."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.configuration.changes.step_recorder import StepRecorder, record_steps
from app.database import Connection
from app.http.keys import DATABASE
from tests.conftest import Service
from tests.factories import flag
from tests.waiting import until

LOCAL = "/v1/environments/local"
FLAG = f"{LOCAL}/configurations/checkout"
PLAN = f"{LOCAL}/flags/checkout/plan"
DAY = timedelta(days=1)


def instant(offset: timedelta) -> str:
    return (datetime.now(UTC) + offset).strftime("%Y-%m-%dT%H:%M:%SZ")


def ramp(*begins: timedelta, **members: Any) -> dict[str, Any]:
    """Return a flag whose steps begin at these times from now, the last one with 100 %."""
    steps = [
        {"at": instant(begin), "rollout": {"variant": "on", "percent": 100 * number // len(begins)}}
        for number, begin in enumerate(begins, start=1)
    ]
    plan = {"name": "checkout launch", "steps": steps, **members}
    return flag(defaultVariant="off", plan=plan)


async def put(service: Service, value: Any, version: int = 0, path: str = FLAG) -> tuple[int, Any]:
    condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    body = {"value": value, "kind": "flag"}
    answer = await service.client.put(path, json=body, headers=condition)
    return answer.status, await answer.json(content_type=None)


async def control(
    service: Service, action: str, version: int, query: str = "", **body: Any
) -> tuple[int, Any]:
    answer = await service.client.post(
        f"{PLAN}/{action}{query}", json=body, headers={"If-Match": f'"{version}"'}
    )
    return answer.status, await answer.json(content_type=None)


async def read(service: Service, path: str, **query: str) -> Any:
    answer = await service.client.get(path, params=query)
    assert answer.status == 200, await answer.text()
    return await answer.json(content_type=None)


async def messages(service: Service, kind: str = "scheduled") -> list[str]:
    page = await read(service, f"{LOCAL}/changes")
    return [item["message"] for item in reversed(page["items"]) if item["kind"] == kind]


async def test_plan_is_stored_in_utc_and_evaluated(service: Service) -> None:
    year = datetime.now(UTC).year + 1
    value = ramp(DAY)
    value["plan"]["steps"][0]["at"] = f"{year}-12-01T10:00:00[Europe/Berlin]"

    status, _ = await put(service, value)

    assert status == 201
    stored = await read(service, FLAG)
    assert stored["value"]["plan"]["steps"][0]["at"] == f"{year}-12-01T09:00:00Z"
    document = await read(service, f"{LOCAL}/export", format="flagd")
    assert "plan" not in document["flags"]["checkout"]
    assert "$flagd.timestamp" in str(document["flags"]["checkout"]["targeting"])
    for at, variant in ((f"{year}-12-01T08:59:59Z", "off"), (f"{year}-12-01T09:00:00Z", "on")):
        body = {"changes": {"checkout": {"value": value, "kind": "flag"}}, "contexts": [{}]}
        answer = await service.client.post(f"{LOCAL}/preview", json={**body, "at": at})
        preview = await answer.json()
        assert preview["flags"][0]["contexts"][0]["after"]["outcome"]["variant"] == variant
        answer = await service.client.post(f"{LOCAL}/flags/checkout/evaluate", json={"at": at})
        assert (await answer.json())["outcome"]["variant"] == variant


async def test_wrong_plan_is_refused_with_its_field(service: Service) -> None:
    value = ramp(DAY, DAY)
    value["plan"]["steps"][0]["at"] = "2027-03-28T02:30:00[Europe/Berlin]"

    status, problem = await put(service, value)

    assert (status, problem["code"]) == (422, "flag_invalid")
    assert problem["errors"][0]["field"] == "value.plan.steps[0].at"
    assert "does not exist in Europe/Berlin" in problem["errors"][0]["rule"]


async def test_new_plan_in_the_past_is_refused(service: Service) -> None:
    status, problem = await put(service, ramp(-2 * DAY, -DAY))

    assert (status, problem["code"]) == (422, "plan_past")
    assert (await put(service, ramp(-DAY, DAY)))[0] == 201


async def test_imported_plan_in_the_past_is_in_its_last_state(service: Service) -> None:
    document = {"flags": {"checkout": ramp(-2 * DAY, -DAY)}}
    answer = await service.client.post(f"{LOCAL}/import?format=flagd", json=document)
    assert answer.status == 200, await answer.text()

    plan = await read(service, PLAN)

    assert (plan["progress"], plan["step"], plan["percent"]) == ("done", 2, 100)
    assert await messages(service) == []


async def test_plan_is_read_at_any_time(service: Service) -> None:
    await put(service, ramp(DAY, 2 * DAY))

    now = await read(service, PLAN)
    later = await read(service, PLAN, at=instant(DAY + timedelta(hours=1)))

    assert (now["progress"], now["step"], now["steps"], now["next_step"]) == ("waiting", 0, 2, 1)
    assert (later["progress"], later["step"], later["percent"]) == ("running", 1, 50)
    assert later["definition"]["targeting"] == {"fractional": [["on", 50], ["off", 50]]}
    assert [change["step"] for change in now["changes"]] == [1, 2]
    answer = await service.client.get(f"{LOCAL}/flags/unknown/plan")
    assert (answer.status, (await answer.json())["code"]) == (404, "flag_unknown")


async def test_pause_and_continue_are_change_sets(service: Service) -> None:
    await put(service, ramp(-DAY, DAY))

    tried = await control(service, "pause", 1, "?dry_run=true")
    paused = await control(service, "pause", 1)
    progress = (await read(service, PLAN))["progress"]
    again = await control(service, "pause", 2)
    stale = await control(service, "continue", 1)
    continued = await control(service, "continue", 2)

    assert (tried[0], tried[1]["dry_run"], progress) == (200, True, "paused")
    assert (paused[0], paused[1]["version"]) == (200, 2)
    assert (again[0], again[1]["code"]) == (409, "plan_state")
    assert stale[0] == 412
    assert (continued[0], continued[1]["version"]) == (200, 3)
    assert await messages(service, "edit") == [
        "",
        "Pause checkout launch",
        "Continue checkout launch",
    ]


async def test_skip_begins_a_step_now(service: Service) -> None:
    await put(service, ramp(DAY, 2 * DAY, 3 * DAY))

    assert (await control(service, "skip", 1))[0] == 422
    assert (await control(service, "pause", 1, step=1))[0] == 422
    assert (await control(service, "skip", 1, step=4))[0] == 422
    assert (await control(service, "skip", 1, step=3))[0] == 200

    plan = await read(service, PLAN)
    assert (plan["progress"], plan["step"], plan["percent"]) == ("done", 3, 100)
    assert await messages(service) == []


async def test_return_is_the_exact_inverse_of_the_plan(service: Service) -> None:
    before = flag(defaultVariant="off", metadata={"owner": "shop"})
    await put(service, before)
    await put(service, {**before, "plan": ramp(-DAY, DAY)["plan"]}, version=1)

    assert (await control(service, "return", 2))[0] == 200

    assert (await read(service, FLAG))["value"] == before
    assert (await control(service, "return", 3))[0] == 404


async def test_finish_stores_what_is_in_force(service: Service) -> None:
    await put(service, ramp(-DAY, DAY))

    assert (await control(service, "finish", 1))[0] == 200

    value = (await read(service, FLAG))["value"]
    assert "plan" not in value
    assert value["targeting"] == {"fractional": [["on", 50], ["off", 50]]}


async def test_control_repeats_with_an_idempotency_key(service: Service) -> None:
    await put(service, ramp(-DAY, DAY))
    headers = {"If-Match": '"1"', "Idempotency-Key": "pause-1"}

    answers = [
        await service.client.post(f"{PLAN}/pause", json={}, headers=headers) for _ in range(2)
    ]

    assert [answer.status for answer in answers] == [200, 200]
    assert (await read(service, FLAG))["version"] == 2


async def test_segment_of_a_step_cannot_be_deleted(service: Service) -> None:
    segment = {"value": {"in": [{"var": "email"}, ["a"]]}, "kind": "segment"}
    path = f"{LOCAL}/configurations/staff"
    await service.client.put(path, json=segment, headers={"If-None-Match": "*"})
    value = ramp(DAY)
    value["plan"]["steps"][0] |= {"targeting": {"if": [{"$ref": "staff"}, "on"]}}
    assert (await put(service, value))[0] == 201

    answer = await service.client.delete(path, headers={"If-Match": '"1"'})

    assert (answer.status, (await answer.json())["code"]) == (409, "segment_in_use")


async def test_step_that_begins_is_recorded_once(service: Service) -> None:
    await put(service, ramp(timedelta(seconds=-1), DAY))
    database = service.app[DATABASE]
    async with database.connection() as connection:
        # As if the plan was stored before its first step began.
        await connection.execute("update plan_steps set revision = null where step = 1")

    async def is_recorded() -> bool:
        recorders = [StepRecorder(database) for _ in range(3)]
        await asyncio.gather(*(recorder.run_once() for recorder in recorders))
        return bool(await messages(service))

    await until(is_recorded)

    assert await messages(service) == ["checkout launch: step 1 of 2 began (checkout)"]
    history = await read(service, f"{LOCAL}/changes")
    assert history["items"][0]["actor"] == "system:plans"
    assert (await read(service, FLAG))["version"] == 1


async def test_missed_steps_are_recorded_after_a_crash(service: Service) -> None:
    document = {"flags": {"checkout": ramp(-3 * DAY, -2 * DAY, DAY)}}
    await service.client.post(f"{LOCAL}/import?format=flagd", json=document)
    database = service.app[DATABASE]

    async def crash(connection: Connection) -> None:
        # As if the database was away when the steps began.
        await connection.execute("update plan_steps set revision = null")
        await record_steps("local", connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(crash)
    assert await messages(service) == []
    async with database.connection() as connection:
        await connection.execute("update plan_steps set revision = null")
    await StepRecorder(database).run_once()
    await StepRecorder(database).run_once()

    first, second = await messages(service)
    assert first.startswith("checkout launch: step 1 of 3 began (checkout, at ")
    assert second.startswith("checkout launch: step 2 of 3 began (checkout, at ")


async def test_rows_of_steps_follow_the_plan(service: Service) -> None:
    await put(service, ramp(DAY, 2 * DAY, 3 * DAY))

    async def rows() -> list[tuple[int, bool]]:
        async with service.app[DATABASE].connection() as connection:
            query = "select step, revision is null from plan_steps order by step"
            return [tuple(row) for row in await connection.fetch(query)]

    assert await rows() == [(1, True), (2, True), (3, True)]
    await put(service, ramp(DAY, 2 * DAY), version=1)
    assert await rows() == [(1, True), (2, True)]
    await control(service, "skip", 2, step=1)
    assert await rows() == [(1, False), (2, True)]
    await control(service, "return", 3)
    assert await rows() == []
