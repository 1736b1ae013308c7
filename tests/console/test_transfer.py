"""Import and export in a real browser, with a chosen file and by keyboard."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.conftest import Service
from tests.console.browser import Visit
from tests.factories import flag

PATH = "/console/environments/local/transfer"
DOCUMENT = {"flags": {"x/new": flag()}}


async def test_file_is_shown_then_imported(
    service: Service, visit: Visit, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "shop.flagd.json"
    file.write_text(json.dumps(DOCUMENT))
    await visit.open_page(PATH)

    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Show the effect").click()
    effect = page.locator("#effect")
    await expect(effect).to_contain_text("1 created, 0 changed, 0 deleted")
    await expect(effect).to_contain_text("shop.flagd.json")
    await visit.assert_accessible()
    await page.get_by_role("button", name="Import: 1 key").click()

    await expect(page.get_by_text("Saved as revision 1")).to_be_visible()
    async with service.client.get("/v1/environments/local/configurations/x/new") as answer:
        assert (await answer.json())["value"] == DOCUMENT["flags"]["x/new"]


@pytest.mark.usefixtures("service")
async def test_import_into_production_waits_for_its_name(visit: Visit, page: Page) -> None:
    """Another look at the effect needs no name. A wrong name is refused with 422."""
    visit.expect_fault("422")
    await visit.open_page(PATH.replace("local", "production"))
    await page.get_by_label("Or paste its text").fill(json.dumps(DOCUMENT))
    show = page.get_by_role("button", name="Show the effect")
    await show.click()
    name = page.get_by_label("Type production to confirm")
    await expect(name).to_be_visible()
    async with page.expect_response("**/transfer"):
        await show.click()
    await visit.assert_accessible()
    await page.get_by_role("button", name="Import: 1 key").click()
    assert await name.evaluate("field => field.validity.valueMissing")
    await name.fill("prod")
    await page.get_by_role("button", name="Import: 1 key").click()
    await expect(page.get_by_role("alert").filter(has_text="exactly")).to_be_visible()
    await name.fill("production")
    await page.get_by_role("button", name="Import: 1 key").click()

    await expect(page.get_by_text("Saved as revision 1")).to_be_visible()


@pytest.mark.usefixtures("service")
async def test_refused_text_stays_and_says_where(visit: Visit, page: Page) -> None:
    visit.expect_fault("422")
    await visit.open_page(PATH)

    await page.get_by_label("Or paste its text").fill('{"flags": {"f": {"state": "ON"}}}')
    await page.get_by_role("button", name="Show the effect").press("Enter")

    await expect(page.locator("#effect")).to_contain_text("f.value.state")
    assert "ON" in await page.get_by_label("Or paste its text").input_value()
    await visit.assert_accessible()
    await visit.look(width=390)
    await visit.assert_laid_out()


async def test_export_is_downloaded(service: Service, visit: Visit, page: Page) -> None:
    body = {"kind": "flag", "value": flag()}
    path = "/v1/environments/local/configurations/x"
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    await visit.open_page(PATH)

    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Export", exact=True).click()
    download = await waiting.value

    assert download.suggested_filename == "local.json"
    text = await asyncio.to_thread(Path(await download.path()).read_text)
    assert "x" in json.loads(text)["entries"]
