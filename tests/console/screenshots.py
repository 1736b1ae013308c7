"""Take the screenshots that README and docs show, and of every page: `make screenshots`.

Those of every page, in each theme and for a narrow and a wide window, are in `.browser/pages/`.
"""

import re

import pytest

from tests.console.browser import ARTIFACTS, Visit
from tests.console.page_list import PUBLIC, page_paths
from tests.console.sample import ENVIRONMENT, FLAG
from tests.paths import ROOT

_IMAGES = ROOT / "docs" / "images"
_ENVIRONMENT = f"/console/environments/{ENVIRONMENT}"
# The name of each picture of the documentation, with its page and its width.
_SHOWN = {
    "console-flags": (f"{_ENVIRONMENT}/flags", 1280),
    "console-flags-narrow": (f"{_ENVIRONMENT}/flags", 390),
    "console-flag": (f"{_ENVIRONMENT}/flags/{FLAG}", 1280),
    "console-flag-narrow": (f"{_ENVIRONMENT}/flags/{FLAG}", 390),
    "console-usage": (f"{_ENVIRONMENT}/flag-usage/{FLAG}", 1280),
    "console-changes": (f"{_ENVIRONMENT}/changes", 1280),
    "console-compare": (f"{_ENVIRONMENT}/compare?against=staging", 1280),
    "console-health": ("/console/health", 1280),
}

pytestmark = pytest.mark.usefixtures("filled")


@pytest.mark.parametrize("name", _SHOWN)
async def test_picture_of_the_documentation(visit: Visit, name: str) -> None:
    path, width = _SHOWN[name]
    await visit.look(width=width, scheme="light")
    await visit.open_page(path)
    await visit.page.wait_for_function("() => !document.querySelector('.htmx-request')")
    await visit.page.screenshot(path=_IMAGES / f"{name}.png")


@pytest.mark.parametrize("path", page_paths())
async def test_picture_of_each_page(visit: Visit, path: str) -> None:
    if path in PUBLIC:
        await visit.context.clear_cookies()
    await visit.open_page(path)
    name = re.sub(r"[^\w-]+", "-", path.removeprefix("/console/"))
    for scheme in ("light", "dark"):
        for width in (390, 1280):
            await visit.look(width=width, scheme=scheme)
            picture = ARTIFACTS / "pages" / f"{name}-{width}-{scheme}.png"
            await visit.page.screenshot(path=picture, full_page=True)
