"""The nginx configuration of docs/sign-in.md, as it is printed, between browser and service.

An authorization service with the paths and headers of oauth2-proxy stands beside it. Without nginx
the tests skip themselves.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Browser, expect
from yarl import URL

from tests.conftest import Service
from tests.console.browser import visiting
from tests.factories import flag
from tests.identity_providers import trusting
from tests.paths import ROOT
from tests.people import give
from tests.ports import free_port
from tests.waiting import HANG_SECONDS, until

FLAG = "checkout/fast"
FLAGS = "/console/environments/local/flags"
SIGN_IN = "/console/sign-in"
_BLOCK = re.compile(r"^```nginx\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COOKIE = "_oauth2_proxy"
_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_PAGE = """<!doctype html><html lang="en"><head><link rel="icon" href="data:,"></head><body>
<form action="/oauth2/start"><input type="hidden" name="rd" value="{}">
<label>Login <input name="login"></label><button>Continue</button></form></body></html>"""


async def _authorize(request: web.Request) -> web.Response:
    """Name the person of the cookie, as with --set-xauthrequest."""
    assert not request.can_read_body
    person = dict(parse_qsl(request.cookies.get(_COOKIE, "")))
    names = {"user": "X-Auth-Request-User", "groups": "X-Auth-Request-Groups"}
    headers = {names[name]: value for name, value in person.items()}
    return web.Response(status=202 if person else 401, headers=headers)


async def _ask(request: web.Request) -> web.Response:
    page = _PAGE.format(request.headers["X-Auth-Request-Redirect"])
    return web.Response(status=403, text=page, content_type="text/html")


async def _start(request: web.Request) -> web.Response:
    answer = web.Response(status=302, headers={"Location": request.query["rd"]})
    answer.set_cookie(_COOKIE, _cookie(request.query["login"]))
    return answer


def _cookie(user: str, groups: str = "platform") -> str:
    return urlencode({"user": user, "groups": groups} if groups else {"user": user})


@asynccontextmanager
async def _authorization_service() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/oauth2/auth", _authorize)
    app.router.add_get("/oauth2/sign_in", _ask)
    app.router.add_get("/oauth2/start", _start)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _configuration(folder: Path, port: int, locations: str) -> str:
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in _PATHS)
    return f"""daemon off; pid {folder}/pid; error_log stderr error; events {{}}
http {{
{paths}access_log off;
server {{ listen 127.0.0.1:{port}; {locations} }}
}}"""


@pytest.fixture
async def proxy(service: Service, tmp_path: Path) -> AsyncIterator[str]:
    """Return the URL of nginx, which the service trusts."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    (printed,) = _BLOCK.findall((ROOT / "docs/sign-in.md").read_text())
    port, file = free_port(), tmp_path / "nginx.conf"
    async with _authorization_service() as authorization:
        for default, chosen in ((8080, URL(service.url).port), (4180, authorization)):
            assert f"127.0.0.1:{default};" in printed
            printed = printed.replace(f"127.0.0.1:{default};", f"127.0.0.1:{chosen};")
        file.write_text(_configuration(tmp_path, port, printed))
        nginx = await asyncio.create_subprocess_exec(
            *(program, "-p", str(tmp_path), "-e", "stderr", "-c", str(file))
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await until(lambda: _answers(url))
            with trusting(service, ip_network("127.0.0.1/32")):
                yield url
        finally:
            nginx.terminate()
            await asyncio.wait_for(nginx.wait(), HANG_SECONDS)


async def _answers(url: str) -> bool:
    async with ClientSession() as client, client.get(f"{url}/health/live") as answer:
        return answer.status == 200


async def _put(service: Service, value: object, condition: dict[str, str]) -> None:
    path = f"/v1/environments/local/configurations/{FLAG}"
    body = {"kind": "flag", "value": value, "message": "From elsewhere"}
    async with service.client.put(path, json=body, headers=condition) as answer:
        assert answer.status in {200, 201}, await answer.text()


async def test_printed_nginx_configuration_serves_a_person(
    service: Service, browser: Browser, proxy: str
) -> None:
    await give(service, "platform", "editor")
    await _put(service, flag(defaultVariant="on"), {"If-None-Match": "*"})
    async with visiting(browser, proxy) as visit:
        visit.expect_fault("status of 403")
        page = visit.page
        await page.goto(f"{proxy}{FLAGS}?q=fast&state=on")
        await page.get_by_label("Login").fill("Jürgen")
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Continue as Jürgen").click()
        await page.wait_for_url(f"{proxy}{FLAGS}?q=fast&state=on")

        await page.get_by_role("link", name=FLAG).click()
        await page.get_by_role("switch").click()
        form = page.locator("form[aria-labelledby=switch-title]")
        await form.get_by_label("Message").fill("Checkout fails")
        await form.get_by_role("button", name="Switch off").click()
        await page.wait_for_url("**saved=*")
        # The stream of the page passes nginx.
        await _put(service, flag(defaultVariant="off"), {"If-Match": '"2"'})
        await expect(page.get_by_text("From elsewhere").first).to_be_visible()
        assert not visit.unexpected, "\n".join(visit.unexpected)


@pytest.mark.parametrize(
    "spoofed",
    [
        {"X-Forwarded-User": "mallory", "X-Forwarded-Groups": "admins"},
        {"x-forwarded-USER": "mallory"},
        {"X_Forwarded_User": "mallory"},
        {"X-Auth-Request-User": "mallory", "X-Auth-Request-Groups": "admins"},
        {"Connection": "close, X-Forwarded-User"},
    ],
)
async def test_client_cannot_replace_the_headers_of_nginx(
    service: Service, proxy: str, spoofed: dict[str, str]
) -> None:
    # A person without groups: nginx has no value for that header.
    known = {"Cookie": f"{_COOKIE}={_cookie('asha', '')}"}
    async with ClientSession() as client:
        async with client.get(proxy + SIGN_IN, headers={**known, **spoofed}) as answer:
            text = await answer.text()
        for path in (SIGN_IN, "/%63onsole/sign-in", "//console/sign-in", "/x/../console/sign-in"):
            address = URL(proxy + path, encoded=True)
            async with client.get(address, headers=spoofed) as answer:
                assert answer.status == 403
        headers = {**known, **spoofed, "Origin": proxy}
        path, form = f"{proxy}{SIGN_IN}/proxy", {"next": "/console"}
        async with client.post(path, headers=headers, data=form, allow_redirects=False) as answer:
            status = answer.status

    assert status == 303
    assert "Continue as asha" in text
    async with service.client.get("/v1/people") as answer:
        people = (await answer.json())["items"]
    assert [(person["subject"], person["groups"]) for person in people] == [("asha", [])]
