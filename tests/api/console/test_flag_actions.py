"""Actions on several flags: review, confirmation, conflicts, one change set."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.flag_list import (
    PRO,
    QUARTER,
    address,
    boolean,
    cells_of,
    change,
    create,
    get_page,
)
from tests.conftest import Service
from tests.html import Element, parse_html

FLAGS = {"a": boolean(PRO), "b": boolean(QUARTER), "c": boolean()}


async def post(
    service: Service, environment: str, fields: Sequence[tuple[str, str]]
) -> tuple[int, Element, str]:
    """Return the status, the page, and the Location. A redirect to a review is followed."""
    async with service.client.post(
        address(environment, "flag-actions"),
        data=list(fields),
        headers={"Origin": service.url},
        allow_redirects=False,
    ) as answer:
        location = answer.headers.get("Location", "")
        if "/flag-actions?" not in location:
            return answer.status, parse_html(await answer.text()), location
    async with service.client.get(location) as review:
        return review.status, parse_html(await review.text()), ""


def flags(*keys: str) -> list[tuple[str, str]]:
    return [("flag", key) for key in keys]


def reviewed(page: Element) -> list[tuple[str, str]]:
    """Return the hidden fields of a review, and the button that applies it."""
    hidden = page.one("form", class_="review").all("input", type="hidden")
    return [*((field["name"], field["value"]) for field in hidden), ("step", "apply")]


def planned(page: Element) -> list[str]:
    return [
        item.text for item in page.one("ul", class_="planned").children if not isinstance(item, str)
    ]


async def change_sets(service: Service, environment: str) -> list[dict[str, Any]]:
    async with service.client.get(f"/v1/environments/{environment}/changes") as answer:
        items: list[dict[str, Any]] = (await answer.json())["items"]
        return items


async def test_switch_off_needs_the_name_of_a_production(service: Service) -> None:
    await create(service, FLAGS, "production")
    fields = [("action", "switch-off"), ("filter", "q=a"), *flags("a", "b", "c")]

    status, page, _ = await post(service, "production", fields)
    assert status == HTTPStatus.OK
    assert planned(page) == [
        "a Switches off: off is served to all",
        "b Switches off: off is served to all",
    ]
    assert "1 flag without a change" in page.text
    for typed in ("", "Production"):
        status, refused, _ = await post(
            service, "production", [*reviewed(page), ("confirmation", typed), ("message", "Why")]
        )
        assert status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert refused.one("p", class_="field-error").text == "Type production, exactly"
        assert refused.one("input", name="message")["value"] == "Why"
    assert len(await change_sets(service, "production")) == 1

    confirmed = [*reviewed(page), ("confirmation", "production")]
    status, _, location = await post(service, "production", confirmed)

    assert (status, location) == (303, f"{address('production')}?q=a&saved=2")
    change_set = (await change_sets(service, "production"))[0]
    assert (change_set["message"], change_set["changes_count"]) == ("Switch off 3 flags", 2)


@pytest.mark.parametrize("action", ["switch-off", "switch-on"])
async def test_disabled_flag_that_serves_off_is_enabled(service: Service, action: str) -> None:
    await create(service, {"a": boolean(state="DISABLED")})

    _, page, _ = await post(service, "local", [("action", action), *flags("a")])

    assert planned(page) == ["a The flag is enabled: off is served to all"]


async def test_message_stays_when_another_target_is_chosen(service: Service) -> None:
    await create(service, FLAGS)
    fields = [("action", "promote"), ("target", "staging"), *flags("a"), ("message", "Go live")]

    _, page, _ = await post(service, "local", fields)

    # The menu of targets sends the message too.
    assert page.one("form", class_="row")["hx-include"] == "#review [name=message]"
    form = page.one("form", class_="review")
    assert [item["value"] for item in form.all("input", name="message")] == ["Go live"]


async def test_switch_on_restores_the_rules(service: Service) -> None:
    await create(service, FLAGS)
    for action in ("switch-off", "switch-on"):
        _, page, _ = await post(service, "local", [("action", action), *flags("a", "b")])
        status, _, _ = await post(service, "local", [*reviewed(page), ("message", "Incident 7")])
        assert status == HTTPStatus.SEE_OTHER

    page = await get_page(service, address())

    assert cells_of(page, "a")[0].startswith("1 rule")
    assert cells_of(page, "b")[0].startswith("25 % of everyone")
    assert (await change_sets(service, "local"))[0]["message"] == "Incident 7"


async def test_flag_without_a_false_variant_is_left_out(service: Service) -> None:
    texts = {"state": "ENABLED", "variants": {"x": "x", "y": "y"}, "targeting": {"if": ["x"]}}
    await create(service, {"texts": texts})

    _, page, _ = await post(service, "local", [("action", "switch-off"), *flags("texts", "gone")])

    assert "Nothing would change in local." in page.text
    assert "texts cannot be switched here: variant: must be given" in page.text
    assert "gone does not exist any more" in page.text


async def test_review_has_a_url_unless_the_selection_is_too_long(service: Service) -> None:
    await create(service, {f"{'x' * 60}/{number}": boolean(PRO) for number in range(100)})
    pages = [await get_page(service, f"{address()}?start={start}") for start in (0, 60)]
    keys = [box["value"] for page in pages for box in page.all("input", name="flag")]
    headers = {"Origin": service.url}
    for count, status in ((3, 303), (100, 200)):
        async with service.client.post(
            address(page="flag-actions"),
            data=[("action", "switch-off"), *flags(*keys[:count])],
            headers=headers,
            allow_redirects=False,
        ) as answer:
            assert answer.status == status

    _, review, _ = await post(service, "local", [("action", "switch-off"), *flags(*keys)])

    assert "Switch off 100 flags in local" in review.text


@pytest.mark.parametrize("action", ["switch-off", "delete", "promote"])
async def test_conflict_names_the_flags_and_overwrites_nothing(
    service: Service, action: str
) -> None:
    await create(service, FLAGS, "development")
    target = "staging" if action == "promote" else "development"
    _, page, _ = await post(service, "development", [("action", action), *flags("a", "b")])
    operation = {"op": "put", "key": "b", "version": 1, "kind": "flag"}
    await change(service, [operation | {"value": boolean(PRO)}], "development")

    status, refused, _ = await post(service, "development", reviewed(page))

    assert status == HTTPStatus.CONFLICT
    assert "Changed meanwhile: b. Review them again." in refused.text
    assert len(await change_sets(service, target)) == (0 if action == "promote" else 2)
    status, _, _ = await post(service, "development", reviewed(refused))
    assert status == HTTPStatus.SEE_OTHER


async def test_delete_removes_the_flags_in_one_change_set(service: Service) -> None:
    await create(service, FLAGS)

    _, page, _ = await post(service, "local", [("action", "delete"), *flags("a", "b")])
    status, _, location = await post(service, "local", reviewed(page))

    assert planned(page)[0] == "a Flag a is deleted"
    assert (status, location) == (303, f"{address()}?saved=2")
    assert (await change_sets(service, "local"))[0]["changes_count"] == 2


async def test_promotion_includes_segments_and_returns_to_the_target(service: Service) -> None:
    segment = {"op": "put", "key": "pros", "version": 0, "kind": "segment"}
    await change(service, [segment | {"value": {"==": [{"var": "plan"}, "pro"]}}])
    await create(service, {"a": boolean({"if": [{"$ref": "pros"}, "on"]}), "b": boolean()})
    await create(service, {"b": boolean()}, "staging")
    fields = [("action", "promote"), ("target", "staging"), *flags("a", "b")]

    _, page, _ = await post(service, "local", fields)
    status, _, location = await post(service, "local", [*reviewed(page), ("target", "staging")])

    assert [text.partition(" ")[0] for text in planned(page)] == ["a", "pros"]
    assert "b is the same in staging" in page.text
    assert "The flags serve the same in staging as in local at once." in page.text
    assert (status, location) == (303, f"{address('staging')}?saved=2")
    change_set = (await change_sets(service, "staging"))[0]
    assert (change_set["kind"], change_set["message"]) == (
        "promote",
        "Promote from another environment",
    )


async def test_chosen_target_replaces_title_and_button(service: Service) -> None:
    await create(service, FLAGS, "local")
    fields = [("action", "promote"), ("target", "staging"), *flags("a")]
    headers = {"Origin": service.url, "HX-Request": "true"}

    async with service.client.post(
        address("local", "flag-actions"), data=fields, headers=headers
    ) as answer:
        review = parse_html(await answer.text())

    assert review.one("h1").text == "Promote a to staging"
    assert "Promote to staging" in review.text
    assert answer.headers["HX-Replace-Url"] == (
        address("local", "flag-actions") + "?action=promote&target=staging&flag=a"
    )


async def test_promotion_to_production_needs_its_name(service: Service) -> None:
    await create(service, FLAGS, "staging")
    fields = [("action", "promote"), ("target", "production"), *flags("a")]

    _, page, _ = await post(service, "staging", fields)
    status, refused, _ = await post(
        service, "staging", [*reviewed(page), ("target", "production"), ("confirmation", "staging")]
    )

    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "Type production, exactly" in refused.text


@pytest.mark.parametrize(
    ("format_", "text"),
    [("json", '"flagstone": 1'), ("yaml", "flagstone: 1"), ("flagd", "$schema")],
)
async def test_export_has_the_selected_flags_and_their_segments(
    service: Service, format_: str, text: str
) -> None:
    segment = {"op": "put", "key": "pros", "version": 0, "kind": "segment"}
    await change(service, [segment | {"value": {"==": [{"var": "plan"}, "pro"]}}])
    await create(service, {"used": boolean({"if": [{"$ref": "pros"}, "on"]}), "left": boolean()})
    _, page, _ = await post(service, "local", [("action", "export"), *flags("used")])
    assert len(page.all("input", name="format")) == 3

    async with service.client.post(
        address("local", "flag-actions"),
        data=[*reviewed(page), ("format", format_)],
        headers={"Origin": service.url},
    ) as answer:
        body = await answer.text()

    assert answer.headers["Content-Disposition"].startswith('attachment; filename="local-flags.')
    assert text in body
    assert "used" in body
    assert "pros" in body
    assert "left" not in body


async def test_action_on_all_that_match_uses_the_filter(service: Service) -> None:
    await create(service, {f"x/{n:03}": boolean(PRO) for n in range(120)} | FLAGS)
    page = await get_page(service, address(), {"prefix": "x/"})
    assert "all 120 that match" in page.text
    hidden = page.one("div", class_="bulk-bar").one("input", name="filter")
    fields = [("action", "switch-off"), ("all", "true"), ("filter", hidden["value"])]

    _, review, _ = await post(service, "local", [*fields, *flags("x/000")])

    assert "Switch off 120 flags in local" in review.text


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ([("action", "explode"), ("flag", "a")], "action"),
        ([("action", "delete")], "must name 1 to 1000 flags"),
        ([("action", "delete"), *flags(*(f"f{n}" for n in range(1_001)))], "must name 1 to 1000"),
        (
            [("action", "promote"), ("target", "local"), ("flag", "a")],
            "must be another environment",
        ),
    ],
)
async def test_wrong_action_is_refused(
    service: Service, fields: list[tuple[str, str]], rule: str
) -> None:
    status, page, _ = await post(service, "local", fields)

    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert rule in page.text


async def test_action_needs_the_scope_and_the_target_environment(service: Service) -> None:
    await create(service, FLAGS)
    reader = await service.token(Scope.READ)
    local = await service.token(Scope.READ, Scope.WRITE, environments=("local",))
    cases = [
        (reader, [("action", "delete"), *flags("a")]),
        (local, [("action", "promote"), ("target", "staging"), *flags("a")]),
    ]
    for token, fields in cases:
        async with service.stranger.post(
            address("local", "flag-actions"),
            data=fields,
            headers={"Authorization": f"Bearer {token}", "Origin": service.url},
        ) as answer:
            assert answer.status == HTTPStatus.FORBIDDEN
