"""The page that creates a flag."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import pytest

from app.access.models import Scope
from tests.api.console.flag_list import address, boolean, create, get_page
from tests.conftest import Service
from tests.html import Element, parse_html

PATH = address(page="new-flag")
FRAGMENT = {"HX-Request": "true"}


def fields(
    key: str,
    variants: Sequence[tuple[str, str]] = (("on", "true"), ("off", "false")),
    **others: str,
) -> list[tuple[str, str]]:
    posted = {"key": key, "type": "boolean", "served": "1", "environment": "local"} | others
    rows = [(("variant", name), ("variant_value", value)) for name, value in variants]
    return [*posted.items(), *(field for row in rows for field in row)]


async def post(
    service: Service, data: Sequence[tuple[str, str]], headers: dict[str, str] | None = None
) -> tuple[int, Element, str]:
    async with service.client.post(
        PATH,
        data=list(data),
        headers={"Origin": service.url} | (headers or {}),
        allow_redirects=False,
    ) as answer:
        page = parse_html(await answer.text())
        return answer.status, page, answer.headers.get("Location", "")


async def stored(service: Service, key: str, environment: str = "local") -> dict[str, Any]:
    path = f"/v1/environments/{environment}/configurations/{key}"
    async with service.client.get(path) as answer:
        assert answer.status == HTTPStatus.OK
        entry: dict[str, Any] = await answer.json()
        return entry


async def test_new_flag_begins_as_a_boolean_that_serves_off(service: Service) -> None:
    page = await get_page(service, PATH, {"key": "a/b"})

    assert [name["value"] for name in page.all("input", name="variant")] == ["on", "off"]
    assert [box["value"] for box in page.all("input", name="environment", checked="")] == ["local"]
    posted = fields("a/b", description="The form", owner="payments", expires="2026-12-31")
    status, _, location = await post(service, posted)

    assert (status, location) == (303, f"{address()}/a/b?saved=1")
    entry = await stored(service, "a/b")
    assert entry["description"] == "The form"
    assert entry["value"] == boolean(metadata={"owner": "payments", "expires": "2026-12-31"})


async def test_new_flag_is_on_only_in_the_current_environment(
    service: Service,
) -> None:
    posted = [*fields("x", served="0", message="Try"), ("environment", "production")]

    status, _, _ = await post(service, posted)

    assert status == HTTPStatus.SEE_OTHER
    assert (await stored(service, "x"))["value"]["defaultVariant"] == "on"
    assert (await stored(service, "x", "production"))["value"]["defaultVariant"] == "off"


@pytest.mark.parametrize(
    ("type_", "variants", "expected"),
    [
        ("string", [("red", "#f00"), ("blue", ""), ("", "")], {"red": "#f00", "blue": "blue"}),
        ("number", [("low", "1"), ("high", "2.5")], {"low": 1, "high": 2.5}),
        ("object", [("a", '{"limit": 1}'), ("", "{}")], {"a": {"limit": 1}}),
    ],
)
async def test_new_flag_of_a_type_has_its_values(
    service: Service, type_: str, variants: list[tuple[str, str]], expected: dict[str, Any]
) -> None:
    status, _, _ = await post(service, fields("t", variants, type=type_, served="0"))

    assert status == HTTPStatus.SEE_OTHER
    value = (await stored(service, "t"))["value"]
    assert (value["variants"], value["defaultVariant"]) == (expected, next(iter(expected)))


@pytest.mark.parametrize(
    ("posted", "rule"),
    [
        (fields("a b"), "must begin with a letter"),
        (fields("taken"), "must be new, but local has an entry of this key"),
        (fields("x", [("n", "1x")], type="number", served="0"), "must be JSON"),
        (fields("x", [("n", "true")], type="number", served="0"), "must be a number"),
        (fields("x", [("n", "[1]")], type="object", served="0"), "must be a JSON object"),
        (fields("x", [("", "1")], type="number", served="0"), "must have a name"),
        (
            fields("x", [("a", "1"), ("a", "2")], type="number", served="0"),
            "must be unique, but a occurs twice",
        ),
        (fields("x", [("<", "1")], type="number", served="0"), "must have names without quotes"),
        (fields("x", expires="soon"), "must be a day such as 2026-12-31"),
        (fields("x", message="m" * 1_001), "must have at most 1000 characters"),
        (fields("x", environment="none"), "There is no such environment."),
        (fields("x", environment=""), "must be at least one"),
        (fields("x", [("a", "true")], served="0", environment="staging"), "must have a false one"),
    ],
)
async def test_refused_flag_keeps_what_was_typed(
    service: Service, posted: list[tuple[str, str]], rule: str
) -> None:
    await create(service, {"taken": boolean()})

    status, page, _ = await post(service, [*posted, ("description", "typed")])

    assert HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    assert rule in page.text
    assert page.one("input", name="key")["value"] == dict(posted)["key"]
    assert page.one("input", name="description")["value"] == "typed"


async def test_type_and_more_change_only_the_form(service: Service) -> None:
    status, page, _ = await post(
        service, [*fields("x y", type="string"), ("step", "type")], FRAGMENT
    )
    assert status == HTTPStatus.OK
    assert not page.all("h1")
    assert [name["value"] for name in page.all("input", name="variant")] == ["", ""]
    assert "must begin with a letter" in page.one("p", id="key-check").text

    _, page, _ = await post(service, [*fields("x", type="string"), ("step", "more")], FRAGMENT)

    assert [name["value"] for name in page.all("input", name="variant")] == ["on", "off", ""]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("free", "This key is free"),
        ("taken", "local, staging have an entry of this key"),
        ("a b", "must begin with a letter"),
        ("", "It cannot be changed later."),
    ],
)
async def test_key_is_checked_as_it_is_typed(service: Service, key: str, text: str) -> None:
    await create(service, {"taken": boolean()})
    await create(service, {"taken": boolean()}, "staging")

    page = await get_page(service, address(page="new-flag-key"), {"key": key}, FRAGMENT)

    assert text in page.one("p", id="key-check").text


async def test_reader_may_not_create_a_flag(service: Service) -> None:
    token = await service.token(Scope.READ)
    headers = {"Authorization": f"Bearer {token}", "Origin": service.url}

    async with service.stranger.get(PATH, headers=headers) as answer:
        assert "<form id=" not in await answer.text()
    async with service.stranger.post(PATH, data=fields("x"), headers=headers) as answer:
        assert answer.status == HTTPStatus.FORBIDDEN
