"""Signing out here and at the provider, and the logout that the provider demands."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from yarl import URL

from app.access.rate_limit import ATTEMPTS_MAX
from tests.api.access.oidc.conftest import BACK_CHANNEL, Browser, Installation, Page
from tests.api.access.oidc.test_fault_matrix import FORGERIES
from tests.api.access.oidc.test_provider_faults import text_of
from tests.html import parse_html
from tests.oidc_provider import CLIENT_ID, LOGOUT_EVENT, OidcProvider
from tests.people import give


async def demand(installation: Installation, token: str) -> tuple[int, str]:
    """Send a logout token as the provider does."""
    async with installation.service.stranger.post(
        BACK_CHANNEL, data={"logout_token": token}
    ) as answer:
        assert "no-store" in answer.headers["Cache-Control"]
        return answer.status, await answer.text()


def from_now(changes: dict[str, Any]) -> dict[str, Any]:
    """Return claims with the times of these changes, which are relative to the present."""
    return {
        name: int(time.time() + value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }


def target(page: Page) -> URL:
    """Return the address to which a page leads on."""
    (refresh,) = [
        meta for meta in parse_html(page.html).all("meta") if "http-equiv" in meta.attributes
    ]
    return URL(refresh["content"].removeprefix("0;url="))


async def test_sign_out_leads_to_the_provider_and_back(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    page = await browser.post("/console/sign-out")

    assert page.status == 200
    assert not await browser.is_signed_in()
    address = target(page)
    assert address.with_query(None) == URL(f"{installation.provider.issuer}/logout")
    assert address.query["client_id"] == CLIENT_ID
    assert address.query["id_token_hint"].startswith("eyJ")
    back = address.query["post_logout_redirect_uri"]
    assert back == f"{installation.service.url}/console/signed-out"
    async with browser.session.get(address, allow_redirects=False) as answer:
        last = await browser.get(answer.headers["Location"])
    assert "You are signed out" in last.main.text
    assert "The provider has ended its session too." in last.main.text


async def test_sign_out_everywhere_leads_to_the_provider(
    installation: Installation, browser: Browser
) -> None:
    await give(installation.service, "platform", "viewer")
    await browser.sign_in()
    async with installation.browser() as other:
        await other.sign_in()
        page = await other.post("/console/sessions/end")

    assert target(page).path == "/logout"
    assert not await browser.is_signed_in()


async def test_sign_out_without_an_endpoint_stays_here(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.metadata_changes = {"end_session_endpoint": None}
    await browser.sign_in()
    page = await browser.post("/console/sign-out")

    assert page.status == 303
    assert page.answer.headers["Location"] == "/console/signed-out"


async def test_long_id_token_is_no_part_of_an_address(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.claims["groups"] = [f"group-{n}" for n in range(900)]
    await browser.sign_in()

    assert "id_token_hint" not in target(await browser.post("/console/sign-out")).query


async def test_session_of_a_token_signs_out_here_alone(
    installation: Installation, browser: Browser
) -> None:
    await browser.post("/console/sign-in", token=installation.service.admin_token)
    page = await browser.post("/console/sign-out")

    assert page.status == 303


@pytest.mark.parametrize(
    "changes",
    [{}, {"sid": None}, {"sub": None}, {"exp": timedelta(days=1)}, {"iat": timedelta(minutes=-10)}],
)
async def test_logout_token_ends_the_session(
    installation: Installation, browser: Browser, changes: dict[str, Any]
) -> None:
    await browser.sign_in()
    token = installation.provider.logout_token(**from_now(changes))

    assert await demand(installation, token) == (200, "")
    assert not await browser.is_signed_in()
    details = [detail for *_, detail in await installation.log()]
    assert "oidc: signed out at the provider" in details


async def test_logout_of_one_session_leaves_the_others(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.sid = "provider-session-2"
    async with installation.browser() as other:
        await other.sign_in()
        assert await demand(installation, installation.provider.logout_token()) == (200, "")

        assert not await other.is_signed_in()
    assert await browser.is_signed_in()
    # Without a sid, all sessions of the person end.
    await demand(installation, installation.provider.logout_token(sid=None))
    assert not await browser.is_signed_in()


async def test_logout_ends_a_session_whose_sid_is_unknown(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.id_token_changes = {"sid": None}
    await browser.sign_in()

    assert (await demand(installation, installation.provider.logout_token(sub="u-2")))[0] == 200
    assert await browser.is_signed_in()
    assert (await demand(installation, installation.provider.logout_token()))[0] == 200
    assert not await browser.is_signed_in()


@pytest.mark.parametrize("changes", [{"sub": "u-2"}, {"sid": "other"}, {"sub": "u-2", "sid": None}])
async def test_logout_of_another_person_ends_no_session(
    installation: Installation, browser: Browser, changes: dict[str, Any]
) -> None:
    await browser.sign_in()

    status, _ = await demand(installation, installation.provider.logout_token(**changes))
    assert status == 200
    assert await browser.is_signed_in()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"aud": "other"}, "another application"),
        ({"iat": timedelta(minutes=-16)}, "too old"),
        ({"iat": timedelta(minutes=16)}, "future"),
        ({"exp": timedelta(minutes=-16)}, "expired"),
        ({"exp": None}, "exp is missing"),
        ({"jti": None}, "no jti"),
        ({"jti": ""}, "no jti"),
        ({"events": None}, "lacks the event"),
        ({"events": {}}, "lacks the event"),
        ({"events": {LOGOUT_EVENT: None}}, "lacks the event"),
        ({"events": [LOGOUT_EVENT]}, "lacks the event"),
        ({"nonce": "n"}, "has a nonce"),
        ({"sub": None, "sid": None}, "neither sub nor sid"),
        ({"sub": None, "sid": 1}, "neither sub nor sid"),
        ({"sub": 1}, "claim sub"),
    ],
)
async def test_logout_token_that_fails_a_check_is_refused(
    installation: Installation, browser: Browser, changes: dict[str, Any], words: str
) -> None:
    await browser.sign_in()

    token = installation.provider.logout_token(**from_now(changes))
    status, text = await demand(installation, token)
    assert status == 400
    assert words in text
    assert await browser.is_signed_in()
    assert [words in reason for reason in await installation.refusals()] == [True]


@pytest.mark.parametrize(("forge", "words"), FORGERIES)
async def test_forged_logout_token_is_refused(
    installation: Installation,
    browser: Browser,
    forge: Callable[[OidcProvider], None],
    words: str,
) -> None:
    await browser.sign_in()
    forge(installation.provider)

    status, text = await demand(installation, installation.provider.logout_token())
    assert status == 400
    assert words in text
    assert await browser.is_signed_in()
    assert [words in reason for reason in await installation.refusals()] == [True]


async def test_logout_without_the_keys_is_refused_and_logged(installation: Installation) -> None:
    """The provider sends the token again after a 503."""
    installation.provider.answers["/keys"] = text_of("", status=500)

    status, text = await demand(installation, installation.provider.logout_token())
    assert status == 503
    assert "The provider's key set answers with status 500." in text
    assert await installation.refusals() == [
        "oidc logout: The provider's key set answers with status 500."
    ]


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30."])
async def test_malformed_logout_token_is_refused(installation: Installation, token: str) -> None:
    assert (await demand(installation, token))[0] == 400
    assert len(await installation.refusals()) == 1


async def test_id_token_is_no_logout_token(installation: Installation, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.post("/console/sign-out")
    await browser.sign_in()

    assert (await demand(installation, target(page).query["id_token_hint"]))[0] == 400
    assert await browser.is_signed_in()


@pytest.mark.parametrize(("kind", "status"), [("logout+jwt", 200), ("at+jwt", 400)])
async def test_kind_of_a_logout_token_is_checked(
    installation: Installation, kind: str, status: int
) -> None:
    provider = installation.provider
    provider.sign = lambda claims: provider.signed(claims, typ=kind)

    assert (await demand(installation, provider.logout_token()))[0] == status


async def test_logout_token_counts_once(installation: Installation, browser: Browser) -> None:
    token = installation.provider.logout_token()
    await demand(installation, token)
    await browser.sign_in()

    status, text = await demand(installation, token)
    assert (status, "used before" in text) == (400, True)
    assert await installation.refusals() == ["oidc logout: the logout token was used before"]
    assert await browser.is_signed_in()


async def test_refused_logout_tokens_are_limited(installation: Installation) -> None:
    texts = [(await demand(installation, "x"))[1] for _ in range(ATTEMPTS_MAX + 1)]

    assert "attempts_exceeded" in texts[-1]
    assert await demand(installation, installation.provider.logout_token()) == (200, "")


async def test_logout_needs_a_form(installation: Installation) -> None:
    async with installation.service.stranger.post(BACK_CHANNEL, json={}) as answer:
        assert answer.status == 415
