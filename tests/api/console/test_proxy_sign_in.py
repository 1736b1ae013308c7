"""Signing in behind an identity-aware proxy, which names the person in a header."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar
from yarl import URL

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from app.access.people.models import GROUPS_MAX
from tests.conftest import Admin, Service
from tests.factories import flag
from tests.identity_providers import trusting
from tests.people import give, sign_in_person
from tests.waiting import HANG_SECONDS

SIGN_IN, BUTTON = "/console/sign-in", "/console/sign-in/proxy"
PAGE, SWITCH = "/console/environments/local/flags", "/console/environments/local/flag-switch/f"
LOOPBACK = (ip_network("127.0.0.0/8"),)
ASHA = {"X-Forwarded-User": "asha", "X-Forwarded-Groups": "platform, shop"}


@pytest.fixture
async def proxied(service: Service) -> AsyncIterator[Service]:
    """Yield the service behind a proxy. Members of platform are editors, those of shop read."""
    await give(service, "platform", "editor")
    await give(service, "shop", "viewer")
    path = "/v1/environments/local/configurations/f"
    body = {"kind": "flag", "value": flag(defaultVariant="on")}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    with trusting(service, *LOOPBACK):
        yield service


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[ClientSession]:
    headers = {"Sec-Fetch-Site": "same-origin"}
    jar = CookieJar(unsafe=True)
    async with ClientSession(base_url=service.url, cookie_jar=jar, headers=headers) as client:
        yield client


async def get(browser: ClientSession, path: str = PAGE, **headers: str) -> tuple[int, str]:
    """Return the status and the text of a page. The header names use underscores."""
    async with browser.get(path, headers=_named(headers), allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def sign_in(browser: ClientSession, **headers: str) -> int:
    form = {"next": PAGE}
    async with browser.post(
        BUTTON, data=form, headers=_named(headers or ASHA), allow_redirects=False
    ) as answer:
        return answer.status


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def logged(service: Service, cleaner: Admin) -> list[tuple[Any, ...]]:
    await service.app[ACCESS_LOG].run_once()
    query = "select event, decision, actor, detail from flagstone.access_log order by id"
    return cleaner.execute(query).fetchall()


async def test_button_begins_a_session_of_the_person(
    proxied: Service, browser: ClientSession, cleaner: Admin
) -> None:
    _, page = await get(browser, SIGN_IN, **ASHA)
    cookies_before = len(browser.cookie_jar)
    status = await sign_in(browser)

    assert "Continue as asha" in page
    assert (cookies_before, status) == (0, 303)
    assert (await get(browser, **ASHA))[0] == 200
    (row,) = [row for row in await logged(proxied, cleaner) if row[0] == "session_created"]
    assert row[2].startswith("person:")
    query = "select issuer, subject, groups from flagstone.people"
    assert cleaner.execute(query).fetchall() == [("proxy", "asha", ["platform", "shop"])]


async def test_people_page_asks_for_no_provider_behind_a_proxy(
    service: Service, console: ClientSession
) -> None:
    before = await get(console, "/console/people")
    with trusting(service, *LOOPBACK):
        behind = await get(console, "/console/people")

    assert "OIDC_ISSUER" in before[1]
    assert "A person appears here at the first sign-in." in behind[1]
    assert "OIDC_ISSUER" not in behind[1]


async def test_person_without_groups_reads_of_the_proxy(
    proxied: Service, browser: ClientSession, console: ClientSession
) -> None:
    visitor = {"X_Forwarded_User": "visitor"}
    await sign_in(browser, **visitor)

    _, me = await get(browser, "/console/me", **visitor)
    _, sessions = await get(console, "/console/sessions")

    assert "TRUSTED_GROUPS_HEADER" in me
    assert "from the proxy" in me
    assert "OIDC_SCOPES" not in me
    assert "by proxy" in sessions
    del proxied


async def test_page_of_a_stranger_begins_no_session(
    proxied: Service, browser: ClientSession
) -> None:
    status, _ = await get(browser, **ASHA)

    assert status == 303
    assert not len(browser.cookie_jar)
    del proxied


async def test_button_on_another_site_is_refused(proxied: Service, cleaner: Admin) -> None:
    headers = {**ASHA, "Sec-Fetch-Site": "cross-site"}
    async with proxied.stranger.post(BUTTON, headers=headers) as answer:
        status, cookies = answer.status, answer.cookies

    assert (status, len(cookies)) == (403, 0)
    assert "malicious_csrf" in [row[0] for row in await logged(proxied, cleaner)]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X_Forwarded_User": "juma"}, "the proxy names another person"),
        ({"X_Forwarded_User": "Asha"}, "the proxy names another person"),
        ({}, "the proxy names no person"),
    ],
)
async def test_session_ends_when_the_proxy_names_another(
    proxied: Service,
    browser: ClientSession,
    cleaner: Admin,
    headers: dict[str, str],
    reason: str,
) -> None:
    await sign_in(browser)

    assert (await get(browser, **headers))[0] == 303
    # It has ended for good.
    assert (await get(browser, **ASHA))[0] == 303
    rows = await logged(proxied, cleaner)
    assert reason in [row[3] for row in rows if row[0] == "session_expired"]


async def test_session_without_the_setting_is_refused(
    service: Service, browser: ClientSession
) -> None:
    with trusting(service, *LOOPBACK):
        await sign_in(browser)

    assert (await get(browser, **ASHA))[0] == 303


async def test_other_sessions_do_not_need_the_header(proxied: Service) -> None:
    async with proxied.signed_in(proxied.admin_token) as browser:
        without = await get(browser)
        with_header = await get(browser, **ASHA)

    assert (without[0], with_header[0]) == (200, 200)


async def test_groups_of_the_header_count_at_once(proxied: Service, browser: ClientSession) -> None:
    fewer = {**ASHA, "X-Forwarded-Groups": "shop"}

    async def may_write(headers: dict[str, str]) -> bool:
        # A form without fields: it is refused after the check of the rights.
        async with browser.post(SWITCH, headers=headers, allow_redirects=False) as answer:
            assert answer.status in {403, 415}
            return answer.status != 403

    await sign_in(browser)

    assert await may_write(ASHA)
    assert not await may_write(fewer)
    assert (await get(browser, **fewer))[0] == 200
    assert (await get(browser, X_Forwarded_User="asha"))[0] == 403
    assert await may_write(ASHA)
    del proxied


async def test_person_of_a_provider_has_another_identity(
    proxied: Service, browser: ClientSession, cleaner: Admin
) -> None:
    """The same name from a provider is another person, whose session needs no header."""
    other = await sign_in_person(proxied, "asha", "platform")
    await sign_in(browser)

    people = cleaner.execute("select count(*) from flagstone.people").fetchone()
    cookie = {"Cookie": f"flagstone={other.text}"}
    async with proxied.stranger.get(PAGE, headers=cookie, allow_redirects=False) as answer:
        status = answer.status
    assert (people, status) == ((2,), 200)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("X-Forwarded-User", "asha"), ("X-Forwarded-User", "juma")], "has two values"),
        ([("X-Forwarded-User", "mallory, asha")], "has two values"),
        ([("X-Forwarded-User", "")], "is empty"),
        ([("X-Forwarded-User", "   ")], "is empty"),
        ([("X-Forwarded-User", "(null)")], "has the name of an empty variable"),
        (
            [("X-Forwarded-User", "asha"), ("X-Forwarded-Groups", "shop,{header.X-Groups}")],
            "has the name of an empty variable",
        ),
        ([("X-Forwarded-User", "a" * 256)], "has a name of more than 255 characters"),
        ([("X-Forwarded-User", "as\tha")], "has characters that cannot be printed"),
        ([("X-Forwarded-User", "as\u202eha")], "has characters that cannot be printed"),
        ([("X-Forwarded-User", "\u00a0asha")], "has characters that cannot be printed"),
        (
            [("X-Forwarded-User", "asha"), ("X-Forwarded-Groups", "shop,platform\u3000")],
            "has characters that cannot be printed",
        ),
        ([("X-Forwarded-Groups", "platform")], "names groups of no person"),
        (
            [("X-Forwarded-User", "asha"), *[("X-Forwarded-Groups", "shop")] * 2],
            "has two values",
        ),
        (
            [("X-Forwarded-User", "asha"), ("X-Forwarded-Groups", "g" * 256)],
            "has a name of more than 255 characters",
        ),
        (
            [
                ("X-Forwarded-User", "asha"),
                ("X-Forwarded-Groups", ",".join(map(str, range(GROUPS_MAX + 1)))),
            ],
            f"names more than {GROUPS_MAX} groups",
        ),
    ],
)
async def test_unusable_header_is_refused_in_words(
    proxied: Service,
    browser: ClientSession,
    cleaner: Admin,
    headers: list[tuple[str, str]],
    words: str,
) -> None:
    for path in (SIGN_IN, PAGE):
        async with browser.get(path, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 400
            assert f"header for the person or the groups {words}." in await answer.text()
    async with browser.post(BUTTON, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 400
    assert not len(browser.cookie_jar)
    assert ("authn_login_fail", "refused", "anonymous", f"proxy header {words}") in await logged(
        proxied, cleaner
    )


@pytest.mark.parametrize(
    "lines",
    [b"X-Forwarded-User: as\xffha", b"X-Forwarded-User: asha\r\nx-forwarded-user: asha"],
)
async def test_unusual_bytes_of_the_header_are_refused(proxied: Service, lines: bytes) -> None:
    port = URL(proxied.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\nConnection: close\r\n\r\n" % (SIGN_IN.encode(), lines)
    )
    async with asyncio.timeout(HANG_SECONDS):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-For": "10.0.0.1"}])
async def test_header_from_elsewhere_is_refused(
    service: Service, browser: ClientSession, cleaner: Admin, forwarded: dict[str, str]
) -> None:
    """The address of the connection decides, whatever X-Forwarded-For says."""
    with trusting(service, ip_network("10.0.0.0/24")):
        status, page = await get(browser, SIGN_IN, **ASHA, **forwarded)
        posted = await sign_in(browser, **ASHA, **forwarded)
        without = await get(browser, SIGN_IN)

    assert (status, posted, without[0]) == (403, 403, 200)
    assert "This request came from elsewhere" in page
    assert not len(browser.cookie_jar)
    assert "proxy_untrusted" in [row[3] for row in await logged(service, cleaner)]


async def test_header_without_the_setting_is_ignored(
    service: Service, browser: ClientSession
) -> None:
    status, page = await get(browser, SIGN_IN, **ASHA)

    assert (status, "Continue as" in page) == (200, False)
    assert await sign_in(browser) == 403
    del service


async def test_button_without_the_header_says_why(
    proxied: Service, browser: ClientSession, cleaner: Admin
) -> None:
    async with browser.post(BUTTON, data={"next": ""}, allow_redirects=False) as answer:
        page = await answer.text()

    assert answer.status == 403
    assert "The proxy names no person." in page
    rows = await logged(proxied, cleaner)
    assert ("authn_login_fail", "refused", "anonymous", "the proxy names no person") in rows


async def test_api_knows_tokens_alone(proxied: Service) -> None:
    path = "/v1/environments/local/configurations/f"
    token = await proxied.token(Scope.READ)
    async with proxied.stranger.get(path, headers=ASHA) as answer:
        assert answer.status == 401
    headers = {**ASHA, "Authorization": f"Bearer {token}"}
    async with proxied.stranger.get(path, headers=headers) as answer:
        assert answer.status == 200
    with trusting(proxied, ip_network("10.0.0.0/24")):
        async with proxied.stranger.get(path, headers=headers) as answer:
            assert answer.status == 200


async def test_notice_of_a_suspension_goes_by_the_header(
    proxied: Service, browser: ClientSession
) -> None:
    """Another person of the same browser must not read that they are suspended."""
    await sign_in(browser)
    people = await (await proxied.client.get("/v1/people")).json()
    path = f"/v1/people/{people['items'][0]['id']}/suspend"
    assert (await proxied.client.post(path, json={"reason": "left"})).status == 200
    words = "An administrator has suspended your account."

    own = await get(browser, SIGN_IN, **ASHA)
    other = await get(browser, SIGN_IN, X_Forwarded_User="juma")
    browser.cookie_jar.clear()
    without_cookie = await get(browser, SIGN_IN, **ASHA)

    assert (own[0], words in own[1]) == (403, True)
    assert (other[0], words in other[1]) == (200, False)
    assert (without_cookie[0], words in without_cookie[1]) == (403, True)


async def test_sign_out_ends_a_session_of_another_person(
    proxied: Service, browser: ClientSession, cleaner: Admin
) -> None:
    """The proxy names Juma now, so that this session is of no use to them."""
    await sign_in(browser)
    headers = {"X-Forwarded-User": "juma"}
    async with browser.post("/console/sign-out", headers=headers) as answer:
        page = await answer.text()

    assert "The session has ended" in page
    query = "select count(*) from flagstone.sessions where revoked_at is null"
    assert cleaner.execute(query).fetchone() == (0,)
    del proxied


async def test_suspended_person_is_refused_in_words(
    proxied: Service, browser: ClientSession, cleaner: Admin
) -> None:
    await sign_in(browser)
    cleaner.execute("update flagstone.people set suspended_at = current_timestamp")
    await proxied.app[TOKENS].refresh()

    assert (await get(browser, **ASHA))[0] == 303
    assert await sign_in(browser) == 403
