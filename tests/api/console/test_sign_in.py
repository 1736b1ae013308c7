"""Signing in to the console with a token or a one-time link, and signing out."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from http.cookies import Morsel

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar
from yarl import URL

from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import PERSONAL_SCOPES, Grant, Principal, Scope
from app.access.rate_limit import ATTEMPTS_MAX
from app.access.sessions import codes
from app.database import Database
from app.http.keys import DATABASE, SETTINGS
from app.settings import Settings, Tier
from tests.conftest import Admin, Service
from tests.html import parse_html

SIGN_IN, SIGN_OUT, START = "/console/sign-in", "/console/sign-out", "/console"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def browsing(service: Service) -> AsyncIterator[ClientSession]:
    """Yield a browser without a session."""
    jar = CookieJar(unsafe=True)
    async with ClientSession(base_url=service.url, cookie_jar=jar, headers=SAME_ORIGIN) as browser:
        yield browser


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[ClientSession]:
    async with browsing(service) as browser:
        yield browser


async def post(browser: ClientSession, path: str, **form: str) -> ClientResponse:
    return await browser.post(path, data=form, allow_redirects=False)


async def status(browser: ClientSession) -> int:
    """Return the status of a page that needs a session."""
    async with browser.get("/console/environments/local", allow_redirects=False) as answer:
        return 200 if "sign-in" not in answer.headers.get("Location", "") else 401


def cookie_of(browser: ClientSession) -> Morsel[str]:
    (morsel,) = browser.cookie_jar
    return morsel


async def new_code(service: Service, *scopes: Scope, environments: tuple[str, ...] = ("*",)) -> str:
    grant = Grant(
        scopes=frozenset(scopes or PERSONAL_SCOPES),
        environments=frozenset(environments),
        expires_at=None,
    )
    principal = Principal(actor="operator:asha", name="asha", grant=grant)
    log, key = service.app[ACCESS_LOG], service.app[TOKENS].key
    origin = Origin(actor="operator:asha")
    code = await service.app[DATABASE].transact(
        lambda c: codes.create(c, log, key, principal, origin=origin)
    )
    return code.text


async def logged(service: Service, cleaner: Admin) -> list[tuple[object, ...]]:
    await service.app[ACCESS_LOG].run_once()
    return cleaner.execute(
        "select event, decision, actor, detail from flagstone.access_log order by id"
    ).fetchall()


async def test_token_signs_in_with_a_strict_cookie(
    service: Service, browser: ClientSession, cleaner: Admin
) -> None:
    answer = await post(browser, SIGN_IN, token=f" {service.admin_token}\n", next="/console/x?a=1")

    assert answer.status == 303
    assert answer.headers["Location"] == "/console/x?a=1"
    cookie = cookie_of(browser)
    assert cookie.key == "flagstone"
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("Strict", "/", "43200")
    assert not cookie["domain"] or cookie["domain"] == "127.0.0.1"
    assert await status(browser) == 200
    token_id = service.admin_token.split("_")[2]
    assert ("session_created", "allowed", f"token:{token_id}", None) in await logged(
        service, cleaner
    )


async def test_page_names_the_file_of_the_admin_token(
    browser: ClientSession, settings: Settings
) -> None:
    async with browser.get(SIGN_IN) as page:
        assert f"<code>cat {settings.data_dir}/admin-token</code>" in await page.text()


async def test_cookie_is_refused_by_the_api(console: ClientSession) -> None:
    for path in ("/v1/environments", "/v1/tokens", "/health", "/metrics"):
        async with console.get(path) as answer:
            assert answer.status == 401, path


async def test_cookie_and_token_together_are_refused(
    service: Service, console: ClientSession
) -> None:
    headers = {"Authorization": f"Bearer {service.admin_token}"}

    async with console.get(START, headers=headers) as answer:
        assert answer.status == 400
        assert "not both" in await answer.text()


@pytest.mark.parametrize("token", ["", "nonsense", "fs_adm_0123456789abc_" + "a" * 49])
async def test_invalid_token_is_refused_beside_the_field(
    browser: ClientSession, service: Service, token: str, cleaner: Admin
) -> None:
    answer = await post(browser, SIGN_IN, token=token, next="/console/x")
    text = await answer.text()

    assert answer.status == 401
    assert "This token is not valid: it is mistyped, expired or revoked." in text
    assert 'value="/console/x"' in text
    assert not token or token not in text
    assert not list(browser.cookie_jar)
    assert "authn_login_fail" in {row[0] for row in await logged(service, cleaner)}


async def test_token_without_read_cannot_sign_in(
    service: Service, browser: ClientSession, cleaner: Admin
) -> None:
    token = await service.token(Scope.EVALUATE)

    answer = await post(browser, SIGN_IN, token=token)

    assert answer.status == 403
    assert "needs a token with the scope read" in await answer.text()
    refused = ("authn_login_fail", "refused", f"token:{token.split('_')[2]}", "scope_missing")
    assert (await logged(service, cleaner)).count(refused) == 1


async def test_many_invalid_tokens_are_limited(service: Service, browser: ClientSession) -> None:
    statuses = [(await post(browser, SIGN_IN, token="x")).status for _ in range(ATTEMPTS_MAX + 1)]

    assert statuses == [401] * ATTEMPTS_MAX + [429]
    # A valid token is still accepted.
    assert (await post(browser, SIGN_IN, token=service.admin_token)).status == 303


@pytest.mark.parametrize("path", [SIGN_IN, SIGN_OUT])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "SAME"},
    ],
)
async def test_cross_site_post_is_refused_and_logged(
    service: Service, console: ClientSession, cleaner: Admin, path: str, headers: dict[str, str]
) -> None:
    sent = {name: service.url if text == "SAME" else text for name, text in headers.items()}
    cookie = cookie_of(console)
    async with ClientSession(
        base_url=service.url, headers={**sent, "Cookie": f"{cookie.key}={cookie.value}"}
    ) as other_site:
        answer = await post(other_site, path, token=service.admin_token)

    assert answer.status == 403
    assert "did not come from a page of this console" in await answer.text()
    assert "Set-Cookie" not in answer.headers
    assert await status(console) == 200
    assert "malicious_csrf" in {row[0] for row in await logged(service, cleaner)}


async def test_same_origin_by_origin_alone_is_accepted(service: Service) -> None:
    """Browsers send no Sec-Fetch-Site to a plain address that is not loopback."""
    async with ClientSession(base_url=service.url, headers={"Origin": service.url}) as browser:
        assert (await post(browser, SIGN_IN, token=service.admin_token)).status == 303


@pytest.mark.parametrize(
    "next_",
    [
        "https://evil.example/console",
        "//evil.example/console",
        "/\\evil.example",
        "/console\\@evil.example",
        "/console@evil.example",
        "/consoles",
        "/v1/environments",
        "/console/../v1/environments",
        "/console/%2e%2E/v1",
        "/console/\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/console/é",
        "/console/" + "a" * 2_000,
    ],
)
async def test_sign_in_leads_only_to_own_pages(
    service: Service, browser: ClientSession, next_: str
) -> None:
    answer = await post(browser, SIGN_IN, token=service.admin_token, next=next_)

    assert (answer.status, answer.headers["Location"]) == (303, START)


async def test_sign_in_replaces_the_session_of_the_browser(
    service: Service, browser: ClientSession
) -> None:
    await post(browser, SIGN_IN, token=service.admin_token)
    old = cookie_of(browser).value

    await post(browser, SIGN_IN, token=service.admin_token)

    assert cookie_of(browser).value != old
    assert await status(browser) == 200
    async with ClientSession(
        base_url=service.url, headers={"Cookie": f"flagstone={old}"}
    ) as fixated:
        assert await status(fixated) == 401


async def test_planted_cookie_is_not_adopted(service: Service, browser: ClientSession) -> None:
    planted = "0123456789abc_" + "a" * 43
    browser.cookie_jar.update_cookies({"flagstone": planted}, URL(service.url))

    await post(browser, SIGN_IN, token=service.admin_token)

    assert planted not in {morsel.value for morsel in browser.cookie_jar}


async def test_two_cookies_of_the_name_are_refused(
    service: Service, console: ClientSession
) -> None:
    """A neighbouring host can set a second cookie, to sign the browser in as someone else."""
    own = cookie_of(console).value
    headers = {"Cookie": f"flagstone={own}; other=1; flagstone=planted"}
    async with (
        ClientSession(base_url=service.url, headers=headers) as tossed,
        tossed.get(START) as answer,
    ):
        assert answer.status == 400
        assert "Delete the cookies named flagstone" in await answer.text()


async def test_session_ends_with_its_token(service: Service) -> None:
    token = await service.token(Scope.READ)
    async with service.signed_in(token) as browser:
        assert await status(browser) == 200

        await service.revoke(token)
        await service.app[TOKENS].refresh()

        assert await status(browser) == 401


async def test_session_expires_with_its_token(service: Service, cleaner: Admin) -> None:
    token = await service.token(Scope.READ, expires_at=datetime.now(UTC) + timedelta(hours=1))
    async with service.signed_in(token):
        (row,) = cleaner.execute(
            "select expires_at - created_at <= interval '1 hour' from flagstone.sessions"
        ).fetchall()

    assert row == (True,)


async def test_session_has_the_rights_of_its_token(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("staging",))
    async with service.signed_in(token) as browser:
        async with browser.get("/console/environments/local") as answer:
            assert answer.status == 403
        async with browser.get("/console/environments/staging", allow_redirects=False) as answer:
            assert answer.status == 303


async def test_deleted_environment_leaves_the_sessions_of_its_tokens(service: Service) -> None:
    async with service.client.post(
        "/v1/environments", json={"name": "shop", "tier": "local"}
    ) as answer:
        assert answer.status == 201
    token = await service.token(Scope.READ, environments=("shop", "staging"))
    async with service.signed_in(token) as by_token, browsing(service) as by_link:
        code = await new_code(service, Scope.READ, environments=("shop", "staging"))
        unused = await new_code(service, Scope.READ, environments=("shop",))
        await post(by_link, SIGN_IN, code=code)
        assert await status_in(by_token, "shop") == await status_in(by_link, "shop") == 303
        async with service.client.get("/v1/environments/shop") as answer:
            tag = answer.headers.get("ETag") or f'"{(await answer.json())["version"]}"'
        async with service.client.delete(
            "/v1/environments/shop", headers={"If-Match": tag}
        ) as answer:
            assert answer.status == 200, await answer.text()
        await service.app[TOKENS].refresh()

        assert await status_in(by_token, "shop") == 403
        assert await status_in(by_token, "staging") == 303
        # The session of a link names the environment itself, so it ends.
        assert await status(by_link) == 401
        assert (await post(by_link, SIGN_IN, code=unused)).status == 401


async def status_in(browser: ClientSession, environment: str) -> int:
    path = f"/console/environments/{environment}"
    async with browser.get(path, allow_redirects=False) as answer:
        return answer.status


async def test_link_shows_a_button_and_signs_in_once(
    service: Service, browser: ClientSession, cleaner: Admin
) -> None:
    code = await new_code(service)
    for _ in range(2):
        # A preview of the link does not use the code.
        async with browser.get(SIGN_IN, params={"code": code}) as answer:
            assert "This link signs you in once." in await answer.text()

    assert (await post(browser, SIGN_IN, code=code)).status == 303

    assert await status(browser) == 200
    async with browsing(service) as second:
        answer = await post(second, SIGN_IN, code=code)
        assert answer.status == 401
        assert "This link was used before" in await answer.text()
    events = await logged(service, cleaner)
    assert ("authn_link_created", "allowed", "operator:asha", None) in events
    assert ("session_created", "allowed", "operator:asha", None) in events


async def test_code_used_by_many_at_once_signs_one_in(service: Service) -> None:
    code = await new_code(service)

    async def attempt() -> int:
        async with browsing(service) as browser:
            return (await post(browser, SIGN_IN, code=code)).status

    statuses = await asyncio.gather(*(attempt() for _ in range(6)))

    assert sorted(statuses) == [303] + [401] * 5


async def test_expired_code_is_refused(
    service: Service, browser: ClientSession, cleaner: Admin
) -> None:
    code = await new_code(service)
    cleaner.execute("update flagstone.sign_in_codes set expires_at = current_timestamp")

    answer = await post(browser, SIGN_IN, code=code)

    assert answer.status == 401


@pytest.mark.parametrize(
    "change",
    [
        "scopes = '{read,write,admin}'",
        "environments = '{*}'",
        "expires_at = expires_at + interval '1 day'",
        "actor = 'operator:other'",
        "name = 'other'",
        "mac = decode(repeat('00', 32), 'hex')",
    ],
)
async def test_code_changed_in_the_database_is_refused(
    service: Service, browser: ClientSession, cleaner: Admin, change: str
) -> None:
    code = await new_code(service, Scope.READ, environments=("local",))
    cleaner.execute(f"update flagstone.sign_in_codes set {change}")  # noqa: S608 - ours

    assert (await post(browser, SIGN_IN, code=code)).status == 401


async def test_wrong_secret_does_not_use_the_code_up(
    service: Service, browser: ClientSession
) -> None:
    code = await new_code(service)

    assert (await post(browser, SIGN_IN, code=code[:14] + "a" * 43)).status == 401
    assert (await post(browser, SIGN_IN, code=code)).status == 303


@pytest.mark.parametrize(
    "change",
    [
        "scopes = '{read,write,admin}'",
        "environments = '{*}'",
        "expires_at = expires_at + interval '1 day'",
        "created_at = created_at + interval '1 second'",
        "actor = 'operator:other'",
        "name = 'other'",
        "token_id = null",
        "mac = decode(repeat('00', 32), 'hex')",
    ],
)
async def test_session_changed_in_the_database_is_refused(
    service: Service, cleaner: Admin, change: str
) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    async with service.signed_in(token) as browser:
        assert await status(browser) == 200

        cleaner.execute(f"update flagstone.sessions set {change}")  # noqa: S608 - ours
        await service.app[TOKENS].refresh()

        assert await status(browser) == 401


async def test_ended_session_cannot_be_restored_by_hand(
    service: Service, console: ClientSession, cleaner: Admin
) -> None:
    value = cookie_of(console).value
    await post(console, SIGN_OUT)
    cleaner.execute("update flagstone.sessions set revoked_at = null")
    await service.app[TOKENS].refresh()

    headers = {"Cookie": f"flagstone={value}"}
    async with ClientSession(base_url=service.url, headers=headers) as restored:
        assert await status(restored) == 401


async def test_sign_out_ends_the_session_and_clears_the_browser(
    service: Service, console: ClientSession, cleaner: Admin
) -> None:
    value = cookie_of(console).value
    answer = await post(console, SIGN_OUT)

    assert answer.status == 303
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert not list(console.cookie_jar)
    async with console.get(answer.headers["Location"]) as page:
        assert "You are signed out" in await page.text()
    headers = {"Cookie": f"flagstone={value}"}
    async with ClientSession(base_url=service.url, headers=headers) as other:
        assert await status(other) == 401
    assert "session_expired" in {row[0] for row in await logged(service, cleaner)}


@pytest.mark.parametrize("page", ["tokens", "sessions", "environments/local/flags", "health"])
async def test_each_page_offers_the_sign_out(console: ClientSession, page: str) -> None:
    async with console.get(f"{START}/{page}") as answer:
        assert f'action="{SIGN_OUT}"' in await answer.text()


async def test_link_of_another_site_finds_the_session(
    service: Service, console: ClientSession
) -> None:
    """A browser sends no SameSite=Strict cookie when a link of another site is followed."""
    target = "/console/environments/local"
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with service.stranger.get(target, headers=headers) as answer:
        assert f'content="0;url={target}"' in await answer.text()

    # The page leads on, and now the browser sends the cookie.
    assert await status(console) == 200


async def test_sign_in_leads_back_to_the_page_of_a_stranger(
    service: Service, browser: ClientSession
) -> None:
    target = "/console/environments/local/flags?q=a%26b&state=on"
    async with browser.get(target) as answer:
        text = await answer.text()
    shown = re.search(r'name="next" value="([^"]*)"', text)
    assert shown is not None
    next_ = unescape(shown[1])

    await post(browser, SIGN_IN, token="wrong", next=next_)
    answer = await post(browser, SIGN_IN, token=service.admin_token, next=next_)

    assert answer.headers["Location"] == target


async def test_sign_in_page_of_a_signed_in_person_leads_on(console: ClientSession) -> None:
    params = {"next": "/console/x"}
    async with console.get(SIGN_IN, params=params, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/console/x")


@pytest.mark.parametrize(
    ("public_url", "host", "shown"),
    [
        ("http://localhost:8080", "127.0.0.1:8080", "127.0.0.1"),
        ("http://localhost:8080", "[::1]:8080", "[::1]"),
        ("https://flags.example.org/a", "FLAGS.internal", "flags.internal"),
        # Cookies know no ports.
        ("http://localhost:8080", "localhost:9090", None),
        ("http://localhost:8080", "LocalHost", None),
        ("http://[::1]:8080", "[::1]:8080", None),
        ("http://localhost:8080", "x<i>.example.org", None),
        ("http://localhost:8080", "h" * 300, None),
        (None, "127.0.0.1:8080", None),
    ],
)
@pytest.mark.parametrize(
    ("next_", "led_to"),
    [("/console/x?a=1", "/console/x?a=1"), ("https://evil.example", "/console")],
)
async def test_page_at_another_host_leads_to_public_url(
    service: Service, public_url: str | None, host: str, shown: str | None, next_: str, led_to: str
) -> None:
    settings = service.app[SETTINGS]
    http = replace(settings.http, public_url=public_url)
    with service.using(SETTINGS, replace(settings, http=http)):
        async with service.stranger.get(
            SIGN_IN, params={"next": next_}, headers={"Host": host}
        ) as answer:
            text = await answer.text()

    assert answer.status == 200
    assert host not in text or shown is not None
    main = parse_html(text).one("main")
    notices = main.all("div", class_="notice-warn")
    if shown is None:
        assert not notices
        return
    assert f"You opened this page at {shown}." in notices[0].text
    link = URL(notices[0].one("a")["href"])
    assert str(link.with_query(None)) == f"{public_url}{SIGN_IN}"
    assert link.query == {"next": led_to}


@pytest.fixture
async def behind_tls(service: Service) -> AsyncIterator[None]:
    settings = service.app[SETTINGS]
    http = replace(settings.http, public_url="https://flags.example.org/a")
    with service.using(SETTINGS, replace(settings, http=http)):
        yield


@pytest.mark.usefixtures("behind_tls")
async def test_cookie_behind_tls_has_the_host_prefix(
    service: Service, browser: ClientSession
) -> None:
    answer = await post(browser, SIGN_IN, token=service.admin_token)

    text = answer.headers["Set-Cookie"]
    assert text.startswith("__Host-flagstone=")
    assert "Secure" in text
    assert "Path=/;" in text
    assert "Domain" not in text


@pytest.mark.usefixtures("behind_tls")
async def test_plain_cookie_behind_tls_is_ignored(service: Service, browser: ClientSession) -> None:
    answer = await post(browser, SIGN_IN, token=service.admin_token)
    value = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]

    for name, expected in (("flagstone", 401), ("__Host-flagstone", 200)):
        headers = {"Cookie": f"{name}={value}"}
        async with ClientSession(base_url=service.url, headers=headers) as client:
            assert await status(client) == expected, name


@pytest.mark.usefixtures("behind_tls")
@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://flags.example.org", 303),
        ("http://flags.example.org", 403),
        ("https://flags.example.org:8443", 403),
        ("https://flags.example.org.evil.example", 403),
    ],
)
async def test_origin_of_public_url_is_accepted(
    service: Service, origin: str, expected: int
) -> None:
    """A proxy may replace the Host header."""
    for host in ({}, {"Host": "flags.example.org"}):
        headers = {"Origin": origin, **host}
        async with ClientSession(base_url=service.url, headers=headers) as client:
            answer = await post(client, SIGN_IN, token=service.admin_token)

        assert answer.status == expected, host


@pytest.mark.parametrize(
    ("tier", "host", "expected"),
    [
        (Tier.PRODUCTION, "flags.internal:8080", 403),
        (Tier.STAGING, "10.0.0.7:8080", 403),
        (Tier.PRODUCTION, "127.0.0.1:8080", 303),
        (Tier.PRODUCTION, "localhost", 303),
        (Tier.PRODUCTION, "[::1]:8080", 303),
        (Tier.LOCAL, "flags.internal:8080", 303),
    ],
)
async def test_sign_in_needs_tls_outside_of_local(
    service: Service, cleaner: Admin, tier: Tier, host: str, expected: int
) -> None:
    headers = SAME_ORIGIN | {"Host": host}
    with service.using(SETTINGS, replace(service.app[SETTINGS], tier=tier)):
        async with ClientSession(base_url=service.url, headers=headers) as client:
            answer = await post(client, SIGN_IN, token=service.admin_token)
            text = await answer.text()

    assert answer.status == expected
    assert expected == 303 or "Signing in needs TLS. Set PUBLIC_URL" in text
    refused = ("authn_login_fail", "refused", "anonymous", "sign_in_insecure")
    assert (await logged(service, cleaner)).count(refused) == (expected == 403)


async def test_forged_code_does_not_reach_the_database(
    service: Service, browser: ClientSession, settings: Settings
) -> None:
    with service.using(DATABASE, Database(settings.database)):
        answer = await post(browser, SIGN_IN, code="0123456789abc_" + "a" * 43)

    assert answer.status == 401


async def test_sign_out_without_database_clears_the_browser(
    service: Service, console: ClientSession, settings: Settings
) -> None:
    with service.using(DATABASE, Database(settings.database)):
        answer = await post(console, SIGN_OUT)
        assert not list(console.cookie_jar)
        async with console.get(answer.headers["Location"]) as page:
            assert "The database is away, so the session itself ends later" in await page.text()


async def test_sign_in_without_database_says_so(
    service: Service, browser: ClientSession, settings: Settings
) -> None:
    with service.using(DATABASE, Database(settings.database)):
        answer = await post(browser, SIGN_IN, token=service.admin_token)
        text = await answer.text()

    assert answer.status == 503
    assert "The database is not connected yet." in text
