"""The pictures of docs/console-pages.md: each page in two widths and themes, side by side."""

from base64 import b64decode, b64encode
from dataclasses import dataclass

from playwright.async_api import Page

from tests.console.people_sample import PROJECT
from tests.console.sample import ENVIRONMENT, FLAG, PLANNED, SECRET, SEGMENT, SETTING
from tests.paths import ROOT

DOCUMENT = ROOT / "docs" / "console-pages.md"
PICTURES = ROOT / "docs" / "images" / "console"
VIEWS = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
# A token has an id of its own at each run: this stands for the one of the pipeline.
FIRST_TOKEN = "/console/tokens/*"
# So has a proposal.
FIRST_PROPOSAL = "/console/proposals/*"
# And so have a person and a grant.
FIRST_PERSON = "/console/people/*"
FIRST_GRANT = "/console/grants/*"

_ENVIRONMENT = f"/console/environments/{ENVIRONMENT}"
_OF_FLAG = f"{_ENVIRONMENT}/flags/{FLAG}"
# The name of each picture, with its page, in the order of the document.
PAGES = {
    "sign-in": "/console/sign-in",
    "signed-out": "/console/signed-out",
    "flags": f"{_ENVIRONMENT}/flags",
    "flags-past": f"{_ENVIRONMENT}/flags?revision=3",
    "new-flag": f"{_ENVIRONMENT}/new-flag",
    "flag-actions": f"{_ENVIRONMENT}/flag-actions?action=switch-off&flag={FLAG}&flag=home/banner",
    "flag": _OF_FLAG,
    "flag-past": f"{_OF_FLAG}?revision=3",
    "flag-json": f"{_OF_FLAG}?view=json",
    "flag-plan": f"{_ENVIRONMENT}/flags/{PLANNED}?view=plan",
    "flag-plan-control": f"{_ENVIRONMENT}/flag-plan-control/{PLANNED}?action=pause",
    "flag-history": f"{_OF_FLAG}?view=history",
    "flag-usage": f"{_OF_FLAG}?view=usage",
    "flag-use": f"{_OF_FLAG}?view=use",
    "flag-dependencies": f"{_OF_FLAG}?view=dependencies",
    "flag-switch": f"{_ENVIRONMENT}/flag-switch/{FLAG}",
    "flag-copy": f"/console/environments/local/flag-copy/{FLAG}?source={ENVIRONMENT}",
    "settings": f"{_ENVIRONMENT}/settings?prefix=checkout/",
    "setting": f"{_ENVIRONMENT}/settings/{SETTING}",
    "secret": f"{_ENVIRONMENT}/settings/{SECRET}",
    "new-setting": f"{_ENVIRONMENT}/settings-new",
    "setting-copy": f"{_ENVIRONMENT}/settings-copy/{SECRET}?to=staging",
    "segments": f"{_ENVIRONMENT}/segments",
    "segment": f"{_ENVIRONMENT}/segments/{SEGMENT}",
    "new-segment": f"{_ENVIRONMENT}/segments-new",
    "changes": f"{_ENVIRONMENT}/changes",
    "change": f"{_ENVIRONMENT}/changes/9",
    "change-effect": f"{_ENVIRONMENT}/changes/9/effect",
    "history": f"{_ENVIRONMENT}/history/{SETTING}",
    "copy": f"{_ENVIRONMENT}/copy/9",
    "revert": f"{_ENVIRONMENT}/revert/9",
    "restore": f"{_ENVIRONMENT}/restore/8",
    "compare": f"{_ENVIRONMENT}/compare?against=staging",
    "transfer": f"{_ENVIRONMENT}/transfer",
    "proposals": "/console/proposals",
    "proposal": FIRST_PROPOSAL,
    "environments": "/console/environments",
    "environment": f"{_ENVIRONMENT}/environment",
    "new-environment": "/console/new-environment",
    "tokens": "/console/tokens",
    "token": FIRST_TOKEN,
    "new-token": "/console/tokens/new",
    "sessions": "/console/sessions",
    "access-log": "/console/access-log",
    "people": "/console/people",
    "person": FIRST_PERSON,
    "groups": "/console/groups",
    "grants": "/console/grants",
    "new-grant": "/console/grants/new?group=support&environments=production&prefix=home/",
    "grant": FIRST_GRANT,
    "access-history": "/console/grants/history",
    "access-check": "/console/access-check?action=write&environment=production&key=checkout/limit",
    "roles": "/console/roles",
    "role": "/console/roles/on-call",
    "new-role": "/console/roles/new",
    "projects": "/console/projects",
    "project": f"/console/projects/{PROJECT}",
    "new-project": "/console/projects/new",
    "me": "/console/me",
    "schema": "/console/schema",
    "health": "/console/health",
    "doctor": "/console/health/doctor",
}
_SCALE = 0.625
_GAP = 16
# Longer pages are cut.
_HEIGHT_MAX = 1000
_QUALITY = 60
_SHEET = """<body style="margin:{gap}px; display:flex; gap:{gap}px; align-items:start;
  height:{height}px; overflow:hidden; background:#8a8f98">{images}</body>"""
_BOTTOM = "() => Math.max(...[...document.images].map(i => i.getBoundingClientRect().bottom))"


@dataclass(frozen=True)
class View:
    """A screenshot (PNG) of a page in a window of this width."""

    width: int
    image: bytes


async def compose(page: Page, views: list[View]) -> bytes:
    """Return one picture (WebP) with the views side by side. The page is used to draw it."""
    width = round(sum(view.width * _SCALE + _GAP for view in views)) + _GAP
    images = "".join(
        f'<img width="{view.width * _SCALE}" src="data:image/png;base64,'
        f'{b64encode(view.image).decode()}">'
        for view in views
    )
    await page.set_viewport_size({"width": width, "height": _HEIGHT_MAX})
    sheet = _SHEET.format(gap=_GAP, height=_HEIGHT_MAX - 2 * _GAP, images=images)
    await page.set_content(sheet, wait_until="load")
    bottom = await page.evaluate(_BOTTOM)
    clip = {"x": 0, "y": 0, "width": width, "height": min(bottom + _GAP, _HEIGHT_MAX), "scale": 1}
    # Playwright's own screenshots are PNG or JPEG, which are three times as large.
    session = await page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": _QUALITY, "clip": clip}
    picture = await session.send("Page.captureScreenshot", options)
    return b64decode(picture["data"])
