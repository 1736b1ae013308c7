"""The list of flags: rows, search, filters, the past, and pages of 60 rows."""

from datetime import UTC, datetime

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
    evaluated,
    get_page,
    keys_of,
)
from tests.conftest import Service
from tests.html import parse_html

FLAGS = {
    "checkout/newForm": boolean(PRO, metadata={"owner": "payments", "tags": "web, beta"}),
    "checkout/one-click": boolean(QUARTER),
    "search/fastIndex": boolean(defaultVariant="on"),
    "theme": {
        "state": "ENABLED",
        "variants": {"red": "#f00", "blue": "#00f"},
        "defaultVariant": "blue",
    },
    "zombie": boolean(state="DISABLED"),
}
ABSENT = "\N{EN DASH}"
TEXTS = {"search/fastIndex": "Reads the index from memory."}


async def test_list_shows_a_cell_for_each_environment(service: Service) -> None:
    await create(service, FLAGS, descriptions=TEXTS)
    await create(service, {"theme": FLAGS["theme"], "zombie": boolean()}, "production")
    await evaluated(service, "checkout/newForm", 3)

    page = await get_page(service, address())

    assert keys_of(page) == sorted(FLAGS)
    header = [cell.text for cell in page.one("thead").all("th")]
    assert header == ["Flag", "local", "development", "staging", "production"]
    assert cells_of(page, "checkout/newForm") == ["1 rule 3 days ago", ABSENT, ABSENT, ABSENT]
    assert cells_of(page, "checkout/one-click")[0] == "25 % of everyone not evaluated yet"
    assert cells_of(page, "theme")[::3] == ["blue for all not evaluated yet"] * 2
    disabled, *_, production = cells_of(page, "zombie")
    assert disabled == "disabled not evaluated yet ≠ production"
    assert production == "off for all not evaluated yet"
    assert "boolean · payments · #web · #beta" in page.text
    assert "Reads the index from memory." in page.text


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"q": "newform"}, ["checkout/newForm"]),
        ({"q": "form-new"}, ["checkout/newForm"]),
        ({"q": "oneCl"}, ["checkout/one-click"]),
        ({"q": "payments"}, ["checkout/newForm"]),
        ({"q": "memory index"}, ["search/fastIndex"]),
        ({"q": "blue"}, ["theme"]),
        ({"state": "on"}, ["search/fastIndex", "theme"]),
        ({"state": "off"}, []),
        ({"state": "rules"}, ["checkout/newForm"]),
        ({"state": "split"}, ["checkout/one-click"]),
        ({"state": "disabled"}, ["zombie"]),
        ({"prefix": "checkout/"}, ["checkout/newForm", "checkout/one-click"]),
        ({"type": "string"}, ["theme"]),
        ({"q": "e", "type": "boolean", "prefix": "search/"}, ["search/fastIndex"]),
        ({"week": "true", "state": "rules"}, ["checkout/newForm"]),
        ({"sort": "", "state": ""}, sorted(FLAGS)),
    ],
)
async def test_list_is_restricted_by_search_and_filters(
    service: Service, query: dict[str, str], keys: list[str]
) -> None:
    await create(service, FLAGS, descriptions=TEXTS)

    assert keys_of(await get_page(service, address(), query)) == keys


async def test_list_of_stale_flags_is_sorted_by_last_evaluation(service: Service) -> None:
    await create(service, FLAGS)
    for key, days in (
        ("theme", 40),
        ("search/fastIndex", 35),
        ("zombie", 50),
        ("checkout/newForm", 2),
    ):
        await evaluated(service, key, days)

    stale = await get_page(service, address(), {"stale": "true"})
    by_time = await get_page(service, address(), {"sort": "evaluated"})

    assert keys_of(stale) == ["search/fastIndex", "theme"]
    assert cells_of(stale, "search/fastIndex")[0].startswith("on for all not since ")
    assert keys_of(by_time)[:3] == ["checkout/newForm", "search/fastIndex", "theme"]


async def test_list_of_differences_compares_what_is_served(service: Service) -> None:
    await create(service, FLAGS)
    await create(service, {**FLAGS, "theme": boolean(), "zombie": boolean()}, "production")
    metadata = {"owner": "others"}
    changed = boolean(PRO, metadata=metadata)
    operation = {"op": "put", "key": "checkout/newForm", "version": 1, "kind": "flag"}
    await change(service, [{**operation, "value": changed}])

    assert keys_of(await get_page(service, address(), {"differs": "true"})) == ["theme", "zombie"]


async def test_list_of_my_changes_has_those_of_the_caller(service: Service) -> None:
    await create(service, {"mine": boolean(), "other": boolean()})
    token = await service.token(Scope.READ, Scope.WRITE)
    headers = {"Authorization": f"Bearer {token}"}
    path = "/v1/environments/local/configurations/other"
    body = {"kind": "flag", "value": boolean(PRO)}
    async with service.stranger.put(path, json=body, headers=headers | {"If-Match": "*"}) as answer:
        assert answer.status == 200

    async with service.stranger.get(address(), params={"mine": "true"}, headers=headers) as answer:
        theirs = parse_html(await answer.text())

    assert keys_of(theirs) == ["other"]
    assert keys_of(await get_page(service, address(), {"mine": "true"})) == ["mine", "other"]


async def test_list_without_match_offers_to_clear_the_filters(service: Service) -> None:
    await create(service, FLAGS)

    page = await get_page(service, address(), {"q": "nothing", "state": "on"})

    assert "No flag matches" in page.text
    assert [link["href"] for link in page.all("a") if link.text == "Clear filters"] == [
        address()
    ] * 2


async def test_list_of_an_empty_environment_says_what_to_do(service: Service) -> None:
    page = await get_page(service, address("staging"))

    assert "No flags in staging" in page.text
    assert page.all("a", href=address("staging", "new-flag"))
    assert page.all("a", href=address("staging", "transfer"))


async def test_list_for_readers_offers_only_the_export(service: Service) -> None:
    await create(service, FLAGS)
    token = await service.token(Scope.READ, environments=("local", "staging"))
    async with service.stranger.get(
        address(), headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        page = parse_html(await answer.text())

    assert [button["value"] for button in page.all("button", name="action")] == ["export"]
    assert not page.all("a", href=address(page="new-flag"))
    assert [cell.text for cell in page.one("thead").all("th")] == ["Flag", "local", "staging"]


async def test_list_of_many_flags_comes_in_pages(service: Service) -> None:
    await create(service, {f"flag-{n:03}": boolean() for n in range(120)})

    page = await get_page(service, address(), {"q": "flag"})
    more = page.one("tr", id="more-flags")
    rest = await get_page(
        service, more["hx-get"], headers={"HX-Request": "true", "HX-Target": "more-flags"}
    )
    second = await get_page(service, more.one("a")["href"])

    assert more["hx-get"] == f"{address()}?q=flag&start=60"
    assert (len(keys_of(page)), keys_of(rest)[0], len(keys_of(rest))) == (60, "flag-060", 60)
    assert not rest.all("table")
    assert keys_of(second) == keys_of(rest)
    assert second.all("a", href=f"{address()}?q=flag")


async def test_fragment_of_the_list_has_its_url_in_the_history(service: Service) -> None:
    await create(service, FLAGS)
    headers = {"HX-Request": "true", "HX-Target": "flag-list", "HX-Trigger": "filters"}
    query = {"q": "form", "state": "", "sort": ""}

    async with service.client.get(address(), params=query, headers=headers) as first:
        assert first.headers["HX-Push-Url"] == f"{address()}?q=form"
        assert not parse_html(await first.text()).all("h1")
    headers["HX-Current-URL"] = f"{service.url}{address()}?q=for"
    async with service.client.get(address(), params=query, headers=headers) as second:
        assert second.headers["HX-Replace-Url"] == f"{address()}?q=form"
        assert second.headers["Vary"] == "HX-Request"


async def test_past_list_shows_other_environments_of_that_time(service: Service) -> None:
    await create(service, {"theme": boolean()})
    await create(service, {"theme": boolean(PRO)}, "production")
    moment = datetime.now(UTC).isoformat()
    for environment in ("local", "production"):
        operations = [{"op": "delete", "key": "theme", "version": 1}]
        await change(service, operations, environment)

    by_time = await get_page(service, address(), {"at": moment, "stale": "true", "differs": "true"})
    by_revision = await get_page(service, address(), {"revision": "1"})
    before = await get_page(service, address(), {"revision": "0"})

    assert [cell.text for cell in by_time.all("td", class_="flag-cell")] == [
        *("off for all ≠ production", ABSENT, ABSENT, "1 rule"),
    ]
    assert [cell.text for cell in by_revision.all("td", class_="flag-cell")] == ["off for all"]
    assert not by_time.all("button", name="action")
    assert [box["name"] for box in by_time.one("fieldset").all("input")] == ["week", "mine"]
    assert "The usage of that time is not known" in by_time.text
    assert "There was no flag at this moment." in before.text


async def test_list_escapes_hostile_texts(service: Service) -> None:
    hostile = "<script>alert(1)</script>\"'"
    metadata = {"owner": hostile, "tags": hostile}
    await create(service, {"x": boolean(metadata=metadata)}, descriptions={"x": hostile})

    for query in ({}, {"q": hostile}, {"prefix": hostile}):
        async with service.client.get(address(), params=query) as answer:
            text = await answer.text()
        assert "<script>alert" not in text
        parse_html(text)


@pytest.mark.parametrize("name", ["state", "type", "sort"])
async def test_list_refuses_unknown_choices(service: Service, name: str) -> None:
    async with service.client.get(address(), params={name: "x"}) as answer:
        assert answer.status == 400
        assert f"{name}" in await answer.text()


async def test_saved_filter_is_a_link_until_it_is_forgotten(service: Service) -> None:
    await create(service, FLAGS)
    path = address(page="flag-filters")
    origin = {"Origin": service.url}
    form = {"name": "Our & rules", "q": "form", "state": "rules"}

    async with service.client.post(
        path, data=form, headers=origin, allow_redirects=False
    ) as answer:
        assert answer.status == 303
        cookie = answer.cookies["flagstone-filters"]
    headers = {"Cookie": f"flagstone-filters={cookie.coded_value}"}
    page = await get_page(service, address("staging"), headers=headers)
    async with service.client.post(
        path,
        data={"name": "Our & rules", "action": "forget"},
        headers=origin | headers,
        allow_redirects=False,
    ) as answer:
        forgotten = answer.cookies["flagstone-filters"].value

    del page
    listed = await get_page(service, address(), headers=headers)
    assert [link["href"] for link in listed.all("a") if link.text == "Our & rules"] == [
        f"{address()}?q=form&state=rules"
    ]
    assert forgotten == ""


async def test_list_without_match_names_others_with_matches(service: Service) -> None:
    await create(service, {"theme": boolean()})
    await create(service, {"ranking/a": boolean(), "ranking/b": boolean()}, "production")
    await create(service, {"ranking/a": boolean()}, "staging")

    page = await get_page(service, address(), {"q": "ranking", "stale": "true"})

    assert "1 match in staging and 2 in production" in page.text
    links = [link["href"] for link in page.all("a") if "in staging" in link.text]
    assert links == [f"{address('staging')}?q=ranking"]
    assert "in staging" not in (await get_page(service, address(), {"stale": "true"})).text


async def test_list_without_match_hides_foreign_environments(service: Service) -> None:
    await create(service, {"theme": boolean()})
    await create(service, {"ranking": boolean()}, "production")
    token = await service.token(Scope.READ, environments=("local",))

    async with (
        service.signed_in(token) as browser,
        browser.get(address(), params={"q": "ranking"}) as answer,
    ):
        assert "in production" not in parse_html(await answer.text()).text


async def test_search_is_retained_in_the_links_of_the_header(service: Service) -> None:
    await create(service, {"theme": boolean()})
    query = {"q": "them", "state": "", "revision": "1", "saved": "1"}
    headers = {"HX-Request": "true", "HX-Target": "flag-list"}

    for fragment in (None, headers):
        page = await get_page(service, address(), query, fragment)
        menu = page.one("ul", id="environment-menu")
        assert f"{address('staging')}?q=them" in [link["href"] for link in menu.all("a")]
        back = [link["href"] for link in page.all("a") if link.text == "Back to now"]
        assert back == [f"{address()}?q=them"] * 2
