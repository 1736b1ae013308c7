"""Signing in with the provider: the way there and back, and every refusal in words."""

import asyncio
import time
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from yarl import URL

from app.access.oidc.attempts import LIFETIME_SECONDS
from app.access.rate_limit import ATTEMPTS_MAX
from app.http.keys import SETTINGS
from tests.api.access.oidc.conftest import CALLBACK, PAGE, START, Browser, Installation, Page
from tests.oidc_provider import CLIENT_ID
from tests.people import give
from tests.waiting import HANG_SECONDS

COOKIE = "flagstone-oidc"


async def test_person_signs_in_and_is_led_on(installation: Installation, browser: Browser) -> None:
    page = await browser.sign_in()

    assert page.status == 200, page.html
    assert f'content="0;url={PAGE}"' in page.html
    assert page.answer.headers["Cache-Control"] == "no-store"
    assert await browser.is_signed_in()
    assert browser.cookie(COOKIE) is None
    ((issuer, subject, name, email, groups),) = installation.rows(
        "select issuer, subject, name, email, groups from flagstone.people"
    )
    assert (issuer, subject) == (installation.provider.issuer, "u-1")
    assert (name, email, groups) == ("Asha Otieno", "asha@example.org", ["platform"])
    ((actor,),) = installation.rows("select 'person:' || id from flagstone.people")
    assert ("session_created", "allowed", actor, None) in await installation.log()


async def test_start_leads_to_the_provider_with_pkce(browser: Browser) -> None:
    page = await browser.get(URL(START).with_query(next=PAGE))

    address = URL(page.answer.headers["Location"])
    query = dict(address.query)
    assert (page.status, address.path) == (303, "/authorize")
    assert {name: query.pop(name) for name in ("response_type", "client_id", "scope")} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "scope": "openid profile",
    }
    assert query.pop("redirect_uri").endswith(CALLBACK)
    assert query.pop("code_challenge_method") == "S256"
    assert {name: len(value) for name, value in query.items()} == {
        "state": 43,
        "nonce": 43,
        "code_challenge": 43,
    }
    cookie = SimpleCookie(page.answer.headers["Set-Cookie"])[COOKIE]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"]) == ("Lax", "/")
    assert cookie["max-age"] == str(LIFETIME_SECONDS)
    # It is sealed: the verifier must not be readable in the browser's files.
    assert query["state"] not in cookie.value


async def test_cookies_over_tls_belong_to_this_host_alone(
    installation: Installation, browser: Browser
) -> None:
    service = installation.service
    settings = service.app[SETTINGS]
    http = replace(settings.http, public_url="https://flags.example.org")
    with service.using(SETTINGS, replace(settings, http=http)):
        page = await browser.get(START)

    header = page.answer.headers["Set-Cookie"]
    assert header.startswith("__Host-flagstone-oidc=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= {*header.split("; ")}
    assert "Domain" not in header


async def test_start_from_another_site_shows_the_button_first(browser: Browser) -> None:
    """ASVS 5, 7.6.2: no session begins without a person who wants it."""
    page = await browser.get(START, **{"Sec-Fetch-Site": "cross-site"})

    assert page.status == 200
    assert "Sign in with 127.0.0.1" in page.html
    assert "A page at another address led you here." in page.main.text
    assert "Set-Cookie" not in page.answer.headers


async def test_sign_in_page_offers_the_provider_beside_token_and_link(
    installation: Installation, browser: Browser
) -> None:
    page = await browser.get(URL("/console/sign-in").with_query(next=PAGE))

    (link,) = [a for a in page.main.all("a") if "Sign in with 127.0.0.1" in a.text]
    start = URL(installation.service.url + START).with_query(next=PAGE)
    assert URL(link["href"]) == start
    assert page.main.all("input", id="f-token")
    assert "console link" in page.main.text


async def test_sign_in_without_a_provider_offers_none(service: Any) -> None:
    async with service.stranger.get("/console/sign-in") as answer:
        assert "Sign in with" not in await answer.text()
    async with service.stranger.get(START) as answer:
        assert answer.status == 404
        assert "OIDC_ISSUER" in await answer.text()


@pytest.mark.parametrize(
    "next_",
    [
        *("https://evil.example", "//evil.example", "/\\evil.example", "/console/../evil"),
        *("javascript:alert(1)", "/consoleevil", "/console/%2e%2e/evil", ""),
        "/console/x?a=" + "b" * 3_000,
    ],
)
async def test_sign_in_leads_to_no_other_site(browser: Browser, next_: str) -> None:
    page = await browser.sign_in(next_)

    assert page.status == 200
    assert 'content="0;url=/console"' in page.html


async def test_new_session_replaces_the_old_one_of_the_browser(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    before = browser.cookie("flagstone")
    await browser.sign_in()
    after = browser.cookie("flagstone")

    assert before != after
    async with installation.browser() as other:
        other.session.cookie_jar.update_cookies({"flagstone": before or ""})
        assert not await other.is_signed_in()
    assert await browser.is_signed_in()


async def test_session_that_another_person_set_is_of_no_use(
    installation: Installation, browser: Browser
) -> None:
    """Session fixation."""
    fixed, url = "A" * 13 + "_" + "B" * 43, URL(installation.service.url)
    browser.session.cookie_jar.update_cookies({"flagstone": fixed}, url)
    await browser.sign_in()

    assert browser.cookie("flagstone") != fixed
    async with installation.browser() as other:
        other.session.cookie_jar.update_cookies({"flagstone": fixed}, url)
        assert not await other.is_signed_in()


# The callback


async def assert_refused(
    installation: Installation,
    browser: Browser,
    address: str | URL,
    words: str,
    *,
    reason: str = "",
    status: int = 401,
    cookie: str = "",
) -> Page:
    """Fail unless page and access log say why a callback is refused. `reason` is for the log."""
    headers = {"Sec-Fetch-Site": "cross-site"} | ({"Cookie": cookie} if cookie else {})
    page = await browser.get(address, **headers)

    assert page.status == status, page.html
    assert words in page.alert
    assert browser.cookie("flagstone") is None
    assert page.main.all("input", id="f-token"), "the other ways in stay"
    (logged,) = await installation.refusals()
    assert logged.startswith("oidc: ")
    assert (reason or words) in logged
    return page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "x"}, "state is wrong"),
        ({"state": "é" * 43}, "state is wrong"),
        ({"state": None}, "state is wrong"),
        ({"state": "s" * 5_000}, "very long"),
        ({"code": None}, "sent no code"),
        ({"code": "c" * 5_000}, "very long"),
        ({"iss": "https://evil.example"}, "its iss is wrong"),
        ({"iss": None}, "its iss is wrong"),
    ],
)
async def test_callback_with_a_wrong_parameter_is_refused(
    installation: Installation, browser: Browser, changes: dict[str, str | None], words: str
) -> None:
    installation.provider.callback_changes = changes
    address = await browser.go_to_provider()

    await assert_refused(installation, browser, address, words)
    assert "/token" not in installation.provider.calls


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
async def test_callback_with_a_parameter_twice_is_refused(
    installation: Installation, browser: Browser, name: str
) -> None:
    address = await browser.go_to_provider()
    twice = URL(f"{address}&{name}=a&{name}=b", encoded=True)

    await assert_refused(installation, browser, twice, f"several {name}")


async def test_callback_in_another_browser_is_refused(
    installation: Installation, browser: Browser
) -> None:
    address = await browser.go_to_provider()

    async with installation.browser() as other:
        await assert_refused(installation, other, address, "did not begin it")
    assert "/token" not in installation.provider.calls


async def test_callback_of_an_earlier_start_is_refused(
    installation: Installation, browser: Browser
) -> None:
    address = await browser.go_to_provider()
    await browser.go_to_provider()

    await assert_refused(installation, browser, address, "begun another one")


async def test_callback_after_ten_minutes_is_refused(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await browser.go_to_provider()
    # The jar would expire the cookie by the same clock.
    cookie = f"{COOKIE}={browser.cookie(COOKIE)}"
    later = time.time() + LIFETIME_SECONDS + 1
    monkeypatch.setattr("app.access.oidc.attempts.time.time", lambda: later)

    words = "it took more than 10 minutes"
    async with installation.browser() as other:
        await assert_refused(installation, other, address, words, cookie=cookie)


@pytest.mark.parametrize("cookie", ["x", "é", "A" * 400, "===="])
async def test_forged_cookie_of_an_attempt_is_refused(
    installation: Installation, browser: Browser, cookie: str
) -> None:
    address = await browser.go_to_provider()
    forged, words = f"{COOKIE}={cookie}", "its cookie was changed"
    async with installation.browser() as other:
        await assert_refused(installation, other, address, words, cookie=forged)


async def test_two_cookies_of_an_attempt_are_refused(
    installation: Installation, browser: Browser
) -> None:
    """Cookie tossing: another host of the domain has set one."""
    address = await browser.go_to_provider()
    both = f"{COOKIE}=x; {COOKIE}={browser.cookie(COOKIE)}"
    async with installation.browser() as other:
        words = f"Delete the cookies named {COOKIE}"
        await assert_refused(installation, other, address, words, status=400, cookie=both)


async def test_callback_counts_once(installation: Installation, browser: Browser) -> None:
    address = await browser.go_to_provider()
    cookie = f"{COOKIE}={browser.cookie(COOKIE)}"
    await browser.get(address)
    async with installation.browser() as other:
        await assert_refused(installation, other, address, "it was used before", cookie=cookie)
    assert installation.provider.calls.count("/token") == 1


async def test_callbacks_at_once_begin_one_session(
    installation: Installation, browser: Browser
) -> None:
    address = await browser.go_to_provider()
    cookie = f"{COOKIE}={browser.cookie(COOKIE)}"
    async with installation.browser() as other:
        pages = await asyncio.gather(*(other.get(address, Cookie=cookie) for _ in range(4)))

    assert sorted(page.status for page in pages) == [200, 401, 401, 401]
    # Equal refusals are one row with their number.
    assert await installation.refusals() == ["oidc: it was used before"]
    assert installation.provider.calls.count("/token") == 1


async def test_head_uses_no_code(installation: Installation, browser: Browser) -> None:
    """As of a program that checks the links of a mail or a history."""
    address = await browser.go_to_provider()
    async with browser.session.head(address, allow_redirects=False) as answer:
        assert answer.status == 401
    page = await browser.get(address)

    assert page.status == 200
    assert installation.provider.calls.count("/token") == 1


async def test_code_of_another_attempt_is_refused(
    installation: Installation, browser: Browser
) -> None:
    """PKCE: a stolen code is of no use in another browser."""
    async with installation.browser() as victim:
        stolen = (await victim.go_to_provider()).query["code"]
    address = await browser.go_to_provider()

    mixed = address.update_query(code=stolen)
    await assert_refused(installation, browser, mixed, "does not accept the code")


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        ("access_denied", "you or the provider did not allow it", "access_denied"),
        ("invalid_scope", "scope of OIDC_SCOPES", "invalid_scope"),
        ("made_up_code", "the provider refused it", "made_up_code"),
        ("<script>alert(1)</script>", "the provider refused it", "unknown"),
        ("é" * 50, "the provider refused it", "unknown"),
    ],
)
async def test_error_of_the_provider_is_shown_in_our_words(
    installation: Installation, browser: Browser, code: str, words: str, reason: str
) -> None:
    installation.provider.callback_changes = {
        "code": None,
        "error": code,
        "error_description": "Call +1 555 0100 and say your password <script>alert(2)</script>",
        "error_uri": "https://evil.example",
    }
    address = await browser.go_to_provider()

    reason = f"provider error {reason}"
    page = await assert_refused(installation, browser, address, words, reason=reason)
    text = f"{page.alert} {await installation.log()}"
    assert "555 0100" not in text
    assert "alert(" not in text


# The ID token


async def test_rotated_key_is_read_again(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.provider.KEYS_PAUSE_SECONDS", 0.0)
    await browser.sign_in()
    installation.provider.rotate("k2")

    assert (await browser.sign_in()).status == 200
    assert installation.provider.calls.count("/keys") == 2


async def test_new_key_with_the_same_id_is_read_again(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.provider.KEYS_PAUSE_SECONDS", 0.0)
    provider = installation.provider
    await browser.sign_in()
    provider.rotate("k2")
    renamed = {**provider.key.as_dict(private=False), "kid": "k1"}
    provider.published = [RSAKey.import_key(renamed)]
    provider.sign = lambda claims: provider.signed(claims, kid="k1")

    assert (await browser.sign_in()).status == 200
    assert provider.calls.count("/keys") == 2


async def test_unknown_keys_cause_few_calls(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.provider.KEYS_PAUSE_SECONDS", HANG_SECONDS)
    provider = installation.provider
    provider.sign = lambda claims: provider.signed(claims, kid="k9")
    for _ in range(3):
        page = await browser.sign_in()
        assert "key that the provider does not publish" in page.alert

    assert provider.calls.count("/keys") == 1


# Claims


async def test_groups_come_from_userinfo_if_the_id_token_has_none(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.userinfo_only = frozenset({"groups", "email"})
    installation.provider.id_token_changes = {"email": None}
    await browser.sign_in()

    assert installation.rows("select email, groups from flagstone.people") == [
        ("asha@example.org", ["platform"])
    ]


async def test_userinfo_of_another_person_is_refused(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.userinfo_only = frozenset({"groups"})
    installation.provider.id_token_changes = {"sub": "u-2"}
    address = await browser.go_to_provider()

    await assert_refused(installation, browser, address, "another person")


async def test_email_is_no_identity(installation: Installation, browser: Browser) -> None:
    await browser.sign_in()
    installation.provider.claims |= {"email": "new@example.org", "name": "Asha O."}
    await browser.sign_in()
    installation.provider.claims |= {"sub": "u-2"}
    await browser.sign_in()

    events = [event for event, *_ in await installation.log() if str(event).startswith("user_")]
    assert events == ["user_created", "user_created"]
    assert installation.rows(
        "select subject, name, email from flagstone.people order by subject"
    ) == [("u-1", "Asha O.", "new@example.org"), ("u-2", "Asha O.", "new@example.org")]


async def test_person_without_grants_is_told_whom_to_ask(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    page = await browser.get(PAGE)

    assert page.status == 403
    assert "You have no rights yet" in page.main.text
    ((person_id,),) = installation.rows("select id from flagstone.people")
    assert f"person:{person_id}" in page.main.text
    assert page.main.all("form", action="/console/sign-out")


async def test_group_of_the_claims_gives_its_rights(
    installation: Installation, browser: Browser
) -> None:
    await give(installation.service, "platform", "viewer")
    await browser.sign_in()

    assert (await browser.get(PAGE)).status == 200
    installation.provider.claims["groups"] = []
    await installation.refresh_now()
    assert (await browser.get(PAGE)).status == 403


async def test_suspended_person_is_refused(installation: Installation, browser: Browser) -> None:
    await browser.sign_in()
    # The MAC is that of a person who is not suspended.
    installation.cleaner.execute("update flagstone.people set suspended_at = current_timestamp")
    async with installation.browser() as other:
        page = await other.sign_in()

        assert page.status == 403
        assert "Your account" in page.alert
        assert not await other.is_signed_in()
    ((person_id,),) = installation.rows("select id from flagstone.people")
    refused = ("authn_login_fail", "refused", f"person:{person_id}")
    assert [row[:3] for row in await installation.log()].count(refused) == 1


async def test_refusals_are_limited(browser: Browser) -> None:
    statuses = [(await browser.get(CALLBACK)).status for _ in range(ATTEMPTS_MAX + 1)]

    assert statuses == [401] * ATTEMPTS_MAX + [429]
    # A good sign-in is still accepted.
    assert (await browser.sign_in()).status == 200


async def test_secrets_are_not_logged(
    installation: Installation, browser: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    address = await browser.go_to_provider()
    await browser.get(address)
    await browser.get(address)
    await installation.log()

    stored = str(installation.rows("select * from flagstone.access_log"))
    text = "".join(capfd.readouterr()) + stored
    assert "session_created" in text
    for secret in (address.query["code"], address.query["state"], browser.cookie("flagstone")):
        assert secret
        assert secret not in text


async def test_results_are_counted(installation: Installation, browser: Browser) -> None:
    await browser.sign_in()
    await browser.get(CALLBACK)

    results = installation.sign_in.provider.results
    assert {counted: number for counted, number in results.items() if number} == {
        ("sign_in", "ok"): 1,
        ("sign_in", "refused"): 1,
    }
