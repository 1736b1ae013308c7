"""The page of a list in a browser: accessible, and a file is chosen and uploaded."""

from pathlib import Path

from playwright.async_api import expect

from tests.conftest import Service
from tests.console.browser import WIDTHS, Visit

PAGE = "/console/environments/local/segments/beta"


async def _upload(service: Service) -> None:
    headers = {"If-None-Match": "*", "Content-Type": "text/csv"}
    url = "/v1/environments/local/lists/beta"
    text = "ada\nbob,2101-01-01T00:00:00Z\n"
    async with service.client.put(url, data=text, headers=headers) as answer:
        assert answer.status == 201, await answer.text()


async def test_list_page_is_accessible_and_laid_out(service: Service, visit: Visit) -> None:
    await _upload(service)

    for address in (PAGE, f"{PAGE}?value=missing"):
        await visit.open(address)
        for scheme in ("light", "dark"):
            await visit.look(scheme=scheme)
            await visit.assert_accessible()
        for width in WIDTHS:
            await visit.look(width=width)
            await visit.assert_laid_out()


async def test_values_and_a_file_are_saved(service: Service, visit: Visit, tmp_path: Path) -> None:
    await _upload(service)
    page = visit.page
    await visit.open(PAGE)
    await page.get_by_label("Add", exact=True).fill("eve\njoe")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="4 values")).to_be_visible()

    file = tmp_path / "more.csv"
    file.write_text("kim\n")
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_label("The values of the file").select_option("add")
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("heading", name="5 values")).to_be_visible()
