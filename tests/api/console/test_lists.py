"""The page of a list: values, search, changes of a few, upload, download, protection."""

from typing import Any

import pytest
from aiohttp import FormData

from app.access.models import Scope
from tests.api.console.page_forms import changed, form_fields
from tests.api.console.test_settings import LOCAL, OWN, get, post, stored
from tests.conftest import Service
from tests.html import Element, parse_html

VALUES = "ada\nbob,2101-01-01T00:00:00Z\n"


@pytest.fixture(autouse=True)
async def _list(service: Service) -> None:
    headers = {"If-None-Match": "*", "Content-Type": "text/csv"}
    url = "/v1/environments/local/lists/beta"
    async with service.client.put(url, data=VALUES, headers=headers) as answer:
        assert answer.status == 201, await answer.text()


async def page_of(service: Service, query: str = "") -> Element:
    return parse_html(await get(service, f"/segments/beta{query}"))


async def save(service: Service, status: int = 303, **values: str) -> str:
    fields = changed(form_fields(await get(service, "/segments/beta"), "list-values"), **values)
    return await post(service, "/list-values/beta", fields, status)


async def upload(
    service: Service, name: str, content: bytes, status: int = 303, **fields: str
) -> str:
    data = FormData({"version": "1", "mode": "replace", "message": "", **fields})
    data.add_field("file", content, filename=name)
    url = f"{LOCAL}/list-upload/beta"
    async with service.client.post(url, data=data, headers=OWN, allow_redirects=False) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers["Location"] if status == 303 else text


async def count(service: Service) -> Any:
    return (await stored(service, "beta"))["value"]["list"]["count"]


async def test_page_shows_count_and_values(service: Service) -> None:
    page = await page_of(service)

    assert "2 values" in page.text
    assert sorted(row.one("th").text for row in page.one("tbody").all("tr")) == ["ada", "bob"]
    assert page.all("time", datetime="2101-01-01T00:00:00Z")


async def test_search_finds_a_whole_value(service: Service) -> None:
    found, missing = await page_of(service, "?value=ada"), await page_of(service, "?value=<b>")

    assert "The list has this value." in found.text
    assert len(found.one("tbody").all("tr")) == 1
    assert "The list does not have the value <b>" in missing.text


async def test_past_page_shows_the_values_of_then(service: Service) -> None:
    revision = (await stored(service, "beta"))["updated_revision"]
    await save(service, add="eve")

    page = await page_of(service, f"?revision={revision}")

    assert "2 values" in page.text
    assert not [form for form in page.all("form") if form.attributes.get("id") == "list-values"]
    csv = await get(service, f"/list-export/beta?revision={revision}")
    assert csv.splitlines()[0] == "value,expires_at"
    assert "eve" not in csv


async def test_values_are_added_and_removed(service: Service) -> None:
    address = await save(service, add="eve\r\n joe \r\n\r\n", remove="ada\r\nmissing", message="m")

    assert "saved=" in address
    assert await count(service) == 3
    assert "The list has this value." in (await page_of(service, "?value=joe")).text
    assert "m" in await get(service, "/history/beta")


@pytest.mark.parametrize(
    ("values", "status", "text"),
    [
        ({"add": "x" * 256}, 422, "must have 1 to 255 characters"),
        ({"add": "eve", "remove": "eve"}, 422, "must not be added too"),
        ({}, 422, "must have a value"),
        ({"add": "eve", "version": "9"}, 412, "beta is at version 1"),
        ({"add": "eve", "message": "m" * 1001}, 422, "must have at most 1000 characters"),
    ],
)
async def test_refused_values_stay_in_the_form(
    service: Service, values: dict[str, str], status: int, text: str
) -> None:
    page = await save(service, status, **values)

    assert text in page
    assert values.get("add", "") in dict(form_fields(page, "list-values"))["add"]
    assert await count(service) == 2


async def test_file_replaces_and_changes_the_list(service: Service) -> None:
    await upload(service, "new.csv", b"eve\njoe\nkim\n")
    assert await count(service) == 3
    await upload(service, "more.ndjson", b'"lea"\n', mode="add", version="2")
    assert await count(service) == 4
    await upload(service, "less.csv", b"eve\njoe\n", mode="remove", version="3")
    assert await count(service) == 2
    assert "Upload less.csv" in await get(service, "/history/beta")


async def test_wrong_upload_is_refused_with_its_line(service: Service) -> None:
    page = await upload(service, "wrong.csv", b"eve\na,b,c\n", 422)
    missing = await upload(service, "", b"", 422)
    mode = await upload(service, "x.csv", b"eve\n", 400, mode="x")

    assert "line 2" in page
    assert "file: must be chosen" in missing
    assert "mode" in mode
    assert await count(service) == 2


async def test_download_is_a_file_of_all_values(service: Service) -> None:
    async with service.client.get(f"{LOCAL}/list-export/beta") as answer:
        text = await answer.text()

    assert answer.headers["Content-Disposition"] == 'attachment; filename="beta.csv"'
    assert sorted(text.splitlines()[1:]) == ["ada", "bob,2101-01-01T00:00:00+00:00"]


async def test_reader_sees_values_and_no_forms(service: Service) -> None:
    token = await service.token(Scope.READ)
    headers = {"Authorization": f"Bearer {token}"}
    async with service.client.get(f"{LOCAL}/segments/beta", headers=headers) as answer:
        text = await answer.text()
    refused = {**OWN, **headers}
    async with service.client.post(
        f"{LOCAL}/list-values/beta", data={"version": "1", "add": "eve"}, headers=refused
    ) as answer:
        assert answer.status == 403

    assert "ada" in text
    assert "list-values" not in text


async def test_change_of_a_protected_list_is_proposed(service: Service) -> None:
    url = "/v1/environments/local"
    async with service.client.get(url) as answer:
        version = (await answer.json())["version"]
    body = {"protection": {"approvals": 1}}
    async with service.client.patch(url, json=body, headers={"If-Match": f'"{version}"'}) as answer:
        assert answer.status == 200, await answer.text()

    for address in (
        await save(service, add="eve"),
        await upload(service, "new.csv", b"kim\nlea\nmia\n"),
    ):
        assert "/console/proposals/" in address
        async with service.client.get(address) as answer:
            assert answer.status == 200
    assert await count(service) == 2


async def test_list_is_deleted_with_its_page(service: Service) -> None:
    await post(service, "/segments-delete/beta", [("version", "1")])

    assert (await stored(service, "beta"))["code"] == "configuration_unknown"
