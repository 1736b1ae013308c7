"""The plan of a flag on its page: timeline, forecast, editor and controls."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.page_forms import changed, form_fields
from tests.api.console.test_flag import KEY, OWN, PAGE, get, post, put, stored
from tests.conftest import Service
from tests.factories import flag

VIEW = f"/flags/{KEY}?view=plan"
DRAFT = f"/flag-plan-draft/{KEY}"
CONTROL = f"/flag-plan-control/{KEY}?action="


def plan_of(*hours: float, **members: Any) -> dict[str, Any]:
    """Return a plan whose steps begin at hours from now, with 10 % more in each."""
    now = datetime.now(UTC)
    steps = [
        {
            "at": f"{now + timedelta(hours=number_of_hours):%Y-%m-%dT%H:%M:%SZ}",
            "rollout": {"variant": "on", "percent": 10 * number},
        }
        for number, number_of_hours in enumerate(hours, start=1)
    ]
    return {"name": "launch", "steps": steps, **members}


def planned(*hours: float, **members: Any) -> dict[str, Any]:
    return flag(defaultVariant="off", plan=plan_of(*hours, **members))


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


async def test_template_fills_in_the_steps(service: Service) -> None:
    await put(service, flag(defaultVariant="off"))
    fields = form_fields(await get(service, VIEW), "plan-form")
    fields = changed(fields, template="one-week", start="2099-12-01T09:00", variant="on")

    status, page = await post(service, fields, "template", path=DRAFT)

    assert status == 200
    draft = dict(form_fields(page, "plan-form"))
    assert draft["name"] == "one-week"
    assert draft["linear"] == "true"
    assert (draft["steps.1.at"], draft["steps.1.percent"]) == ("2099-12-02T09:00", "10")
    assert "Plan one-week is added: 4 steps, from 2099-12-01 09:00 UTC" in text_of(page)
    assert (await stored(service))["version"] == 1


async def test_draft_is_saved_with_a_message(service: Service) -> None:
    await put(service, flag(defaultVariant="off"))
    fields = form_fields(await get(service, VIEW), "plan-form")
    for action in ("template", "add", "remove 1"):
        status, page = await post(service, fields, action, path=DRAFT)
        assert status == 200, page
        fields = form_fields(page, "plan-form")

    fields = changed(fields, name="launch", message="Begin", steps__4__percent="0")
    status, location = await post(service, fields, "save", path=DRAFT)

    assert (status, location) == (303, f"{PAGE}{VIEW}&saved=2")
    plan = (await stored(service))["value"]["plan"]
    assert plan["name"] == "launch"
    percents = [step.get("rollout", {}).get("percent") for step in plan["steps"]]
    assert percents == [1, 25, 50, 100, 0]


async def test_unedited_plan_is_not_written_again(service: Service) -> None:
    await put(service, planned(-1, 1))
    fields = form_fields(await get(service, VIEW), "plan-form")

    status, page = await post(service, fields, "save", path=DRAFT)

    assert status == 200
    assert "Nothing has changed, so nothing was written." in page


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("steps__1__at", "2001-01-01T00:00", "must be after step 1"),
        ("steps__1__at", "", "must be a whole second with an offset or a zone"),
        ("steps__1__percent", "101", "must be a number from 0 to 100"),
        ("steps__1__percent", "ten", "must be a number from 0 to 100"),
        ("name", "", "must be a string of 1 to 100 characters"),
    ],
)
async def test_error_stands_beside_its_field(
    service: Service, field: str, value: str, rule: str
) -> None:
    await put(service, planned(-1, 1))
    fields = changed(form_fields(await get(service, VIEW), "plan-form"), **{field: value})

    status, page = await post(service, fields, "save", path=DRAFT)

    name = field.replace("__", ".")
    assert status == 422
    assert f'id="wrong-{name.replace(".", "-")}" name="{name}" aria-invalid="true"' in page
    assert re.search(rf'id="e-{re.escape(name)}">[^§]*?{re.escape(rule)}', page)
    assert dict(form_fields(page, "plan-form"))[name] == value
    assert (await stored(service))["version"] == 1


async def test_change_of_another_person_is_shown_before_saving(service: Service) -> None:
    await put(service, planned(-1, 1))
    fields = changed(form_fields(await get(service, VIEW), "plan-form"), name="slow")
    theirs = {**(await stored(service))["value"], "defaultVariant": "on"}
    await put(service, theirs, version=1)

    status, page = await post(service, fields, "save", path=DRAFT)
    assert status == 409
    assert "Save again to put your plan on top of this" in text_of(page)

    status, _ = await post(service, form_fields(page, "plan-form"), "save", path=DRAFT)
    assert status == 303
    value = (await stored(service))["value"]
    assert (value["plan"]["name"], value["defaultVariant"]) == ("slow", "on")


async def test_timeline_says_where_the_plan_is(service: Service) -> None:
    await put(service, planned(-1, 1, 2))

    page = await get(service, VIEW)

    assert 'aria-current="step"' in page
    assert "Step 1 of 3: on for 10 %." in text_of(page)
    assert 'class="plan-past"' in page
    assert "Plan launch: running, step 1 of 3" in text_of(page)
    assert 'aria-checked="true"' in page


async def test_forecast_shows_the_split_at_a_time(service: Service) -> None:
    await put(service, planned(-1, 1))
    later = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"

    page = await get(service, f"{VIEW}&when={later}")

    shares = {
        title: int(keys.replace(",", ""))
        for title, keys in re.findall(r'"(Now|Then): on ([\d,]+), off', page)
    }
    assert shares == {"Now": pytest.approx(1000, abs=150), "Then": pytest.approx(2000, abs=200)}
    assert "20 % on, 80 % off by targetingKey for all" in text_of(page)


async def test_forecast_at_no_time_says_so(service: Service) -> None:
    await put(service, planned(-1, 1))

    assert "must be a whole second" in await get(service, f"{VIEW}&when=tomorrow")


async def test_controls_change_the_plan(service: Service) -> None:
    await put(service, planned(-1, 1, 2))
    for version, (action, expected) in enumerate(
        [
            ("pause", "paused"),
            ("continue", "running"),
            ("skip&step=3", "done"),
            ("return", "This flag has no plan."),
        ],
        start=1,
    ):
        page = await get(service, CONTROL + action)
        assert "The flag then serves:" in page
        fields = [("version", str(version)), ("message", "Because")]
        status, location = await post(service, fields, path=CONTROL + action)
        assert (status, location) == (303, f"{PAGE}{VIEW}&saved={version + 1}")
        assert expected in text_of(await get(service, VIEW))
    assert (await stored(service))["value"] == flag(defaultVariant="off")


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ("continue", "The plan is not paused, and no step is held."),
        ("skip&step=1", "must be a step after step 1"),
        ("skip&step=99", "up to 2"),
    ],
)
async def test_control_without_effect_says_why(service: Service, action: str, problem: str) -> None:
    await put(service, planned(-1, 1))

    assert problem in await get(service, CONTROL + action)
    status, page = await post(service, [("version", "1")], path=CONTROL + action)
    assert status == 422
    assert problem in page


@pytest.mark.parametrize("action", ["", "stop", "skip", "skip&step=x"])
async def test_unknown_control_is_refused(service: Service, action: str) -> None:
    await put(service, planned(-1, 1))

    await get(service, CONTROL + action, status=400)


async def test_control_of_a_changed_flag_is_refused(service: Service) -> None:
    await put(service, planned(-1, 1))

    status, page = await post(service, [("version", "7")], path=CONTROL + "pause")

    assert status == 422
    assert "Not saved." in page


async def test_protected_environment_asks_for_its_name(service: Service) -> None:
    await put(service, planned(-1, 1), environment="production")
    path = f"/console/environments/production{CONTROL}pause"
    for confirmation, expected in (("prod", 422), ("production", 303)):
        fields = {"version": "1", "confirmation": confirmation}
        async with service.client.post(
            path, data=fields, headers=OWN, allow_redirects=False
        ) as answer:
            assert answer.status == expected, await answer.text()


async def test_reader_sees_the_plan_and_changes_nothing(service: Service) -> None:
    await put(service, planned(-1, 1))
    headers = {"Authorization": f"Bearer {await service.token(Scope.READ)}", **OWN}

    async with service.stranger.get(PAGE + VIEW, headers=headers) as answer:
        page = await answer.text()
    async with service.stranger.post(
        PAGE + CONTROL + "pause", data={"version": "1"}, headers=headers
    ) as answer:
        assert answer.status == 403

    assert "Step 1 of 2" in page
    assert "plan-form" not in page
    assert "flag-plan-control" not in page


async def test_list_marks_a_running_plan(service: Service) -> None:
    await put(service, planned(-1, 1))
    await put(service, planned(-1, 1), key="shop/done")
    path = "/flag-plan-control/shop/done?action=skip&step=2"
    status, _ = await post(service, [("version", "1")], path=path)
    assert status == 303

    page = await get(service, "/flags")

    assert page.count(">plan</span>") == 1
    assert "10\N{NO-BREAK SPACE}% of everyone" in page


async def test_switch_off_removes_the_plan(service: Service) -> None:
    await put(service, planned(-1, 1))

    status, _ = await post(service, [("version", "1")], path=f"/flag-switch/{KEY}")

    assert status == 303
    assert (await stored(service))["value"] == flag(defaultVariant="off")


async def test_past_plan_is_shown_without_controls(service: Service) -> None:
    await put(service, planned(-1, 1))
    await put(service, flag(), version=1)

    page = await get(service, f"{VIEW}&revision=1")

    assert "Step 1 of 2" in page
    assert "flag-plan-control" not in page
    assert "plan-when" not in page


async def test_preview_traces_the_rules_in_force(service: Service) -> None:
    rule = {"if": [{"==": [{"var": "tier"}, "pro"]}, "on"]}
    value = {**planned(-2, -1, 1), "targeting": rule}
    await put(service, value)
    context = '{"targetingKey": "ada", "tier": "free"}'
    fields = [
        ("context-shown", "1"),
        ("context-0-view", "json"),
        ("context-0-json", context),
    ]

    async with service.client.post(
        f"{PAGE}/flag-preview/{KEY}", data=fields, headers={**OWN, "HX-Request": "true"}
    ) as answer:
        page = text_of(await answer.text())

    assert answer.status == 200
    assert "20 % on, 80 % off by targetingKey for all others" in page
    assert "$flagd.timestamp" not in page
