"""Two instances: a sign-in begins at one and ends at the other, and a logout reaches both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import ClientSession, CookieJar
from yarl import URL

from app.access.guard import TOKENS
from app.access.oidc.keys import OIDC
from app.settings import OidcSettings, Secret, Settings
from tests.api.access.oidc.conftest import BACK_CHANNEL, PAGE, START
from tests.conftest import Service, serving
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from tests.people import give
from tests.waiting import until


@pytest.fixture
async def replicas(
    service: Service, settings: Settings, provider: OidcProvider
) -> AsyncIterator[tuple[Service, Service]]:
    """Yield two further instances on the database of `service`, behind one address."""
    await give(service, "platform", "viewer")
    oidc = OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        scopes=("openid",),
        groups_claim="groups",
    )
    http = replace(settings.http, public_url="http://127.0.0.1:1")
    chosen = replace(settings, oidc=oidc, http=http)
    async with serving(chosen) as one, serving(chosen) as two:
        yield one, two


@asynccontextmanager
async def browsing() -> AsyncIterator[ClientSession]:
    jar, headers = CookieJar(unsafe=True), {"Sec-Fetch-Site": "same-origin"}
    async with ClientSession(cookie_jar=jar, headers=headers) as browser:
        yield browser


async def status(browser: ClientSession, service: Service) -> int:
    async with browser.get(service.url + PAGE, allow_redirects=False) as answer:
        return answer.status


async def callback(browser: ClientSession, service: Service) -> URL:
    """Begin a sign-in at an instance, and return the path of the callback."""
    async with browser.get(service.url + START, allow_redirects=False) as begun:
        address = begun.headers["Location"]
    async with browser.get(address, allow_redirects=False) as answer:
        return URL(answer.headers["Location"]).relative()


async def test_sign_in_begins_at_one_instance_and_ends_at_another(
    replicas: tuple[Service, Service],
) -> None:
    one, two = replicas
    async with browsing() as browser:
        path = await callback(browser, one)
        async with browser.get(URL(two.url).join(path)) as answer:
            assert answer.status == 200, await answer.text()
        await one.app[TOKENS].refresh()

        assert [await status(browser, part) for part in replicas] == [200, 200]


async def test_callback_counts_once_on_both_instances(
    replicas: tuple[Service, Service], provider: OidcProvider
) -> None:
    async with browsing() as browser:
        path = await callback(browser, replicas[0])
        cookie = "; ".join(f"{c.key}={c.value}" for c in browser.cookie_jar)

    async def finish(part: Service) -> int:
        async with part.stranger.get(path, headers={"Cookie": cookie}) as answer:
            return answer.status

    assert sorted(await asyncio.gather(*map(finish, replicas))) == [200, 401]
    assert provider.calls.count("/token") == 1


async def sign_in_at_both(browser: ClientSession, one: Service, two: Service) -> None:
    """Sign in at one instance, and see that the other one knows the session."""
    path = await callback(browser, one)
    async with browser.get(URL(one.url).join(path)) as answer:
        assert answer.status == 200
    await two.app[TOKENS].refresh()
    assert await status(browser, two) == 200


async def test_logout_at_one_instance_reaches_the_other_by_itself(
    replicas: tuple[Service, Service], provider: OidcProvider
) -> None:
    one, two = replicas
    async with browsing() as browser:
        await sign_in_at_both(browser, one, two)
        form = {"logout_token": provider.logout_token()}
        async with one.stranger.post(BACK_CHANNEL, data=form) as answer:
            assert answer.status == 200

        assert await status(browser, one) == 303

        # The other one polls every half second.
        async def has_ended() -> bool:
            return await status(browser, two) == 303

        await until(has_ended)
        assert not any(two.app[OIDC].provider.results.values())


async def test_revoked_grant_reaches_the_other_instance_by_itself(
    replicas: tuple[Service, Service],
) -> None:
    one, two = replicas
    async with browsing() as browser:
        await sign_in_at_both(browser, one, two)
        async with one.client.get("/v1/grants") as answer:
            (grant,) = (await answer.json())["items"]
        reason = {"reason": "Left."}
        async with one.client.delete(f"/v1/grants/{grant['id']}", params=reason) as answer:
            assert answer.status == 200

        async def has_no_rights() -> bool:
            return await status(browser, two) == 403

        await until(has_no_rights)
