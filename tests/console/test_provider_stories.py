"""People sign in with real providers, in a real browser, on two instances of the service."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.oidc.refresh import ClaimsRefresh
from app.database.role_names import APP, MIGRATOR
from app.settings import Settings, load
from tests.conftest import Admin, Server, Service, serving
from tests.console.browser import Visit, visiting
from tests.factories import flag
from tests.identity_providers import (
    IdentityProvider,
    MockProvider,
    NodeProvider,
    require_node,
    started,
)
from tests.people import give
from tests.ports import free_port
from tests.waiting import until

ASHA = {"name": "Asha Otieno", "email": "asha@example.org", "groups": ["platform"]}
JUMA = {"name": "Juma Mwangi", "email": "juma@example.org", "groups": ["platform"]}
ACCOUNTS = {"asha": ASHA, "juma": JUMA}
FLAG = "checkout/fast"
FLAGS = "/console/environments/local/flags"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two instances on one database, and the provider that their people sign in with."""

    provider: IdentityProvider
    one: Service
    other: Service
    database: Admin

    @property
    def instances(self) -> tuple[Service, Service]:
        return self.one, self.other


@asynccontextmanager
async def _site(
    server: Server, settings: Settings, provider: IdentityProvider
) -> AsyncIterator[Site]:
    """Run two instances and the provider. Members of platform are editors."""
    name = f"stories_{type(provider).__name__.lower()}"
    server.create_database(name, template="flagstone")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    chosen = replace(
        settings,
        data_dir=server.folder / name,
        oidc=load({"PUBLIC_URL": url, **provider.environment}).oidc,
        http=replace(settings.http, public_url=url),
        database=replace(
            settings.database,
            target=server.target(APP, name),
            migrator=server.target(MIGRATOR, name),
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        # Tests refresh themselves: a run of an instance would take a session from them.
        patch.setattr("app.access.oidc.refresh.POLL_SECONDS", 3_600.0)
        async with (
            started(provider, url),
            serving(chosen, port=port) as one,
            serving(replace(chosen, instance="other")) as other,
        ):
            await give(one, "platform", "editor")
            await give(one, "readers", "viewer")
            path = f"/v1/environments/local/configurations/{FLAG}"
            body = {"kind": "flag", "value": flag(defaultVariant="on")}
            async with one.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
                assert answer.status == 201, await answer.text()
            with server.admin(name) as database:
                yield Site(provider=provider, one=one, other=other, database=database)
        server.drop_database(name)


@pytest.fixture(scope="module")
async def node_site(server: Server, settings: Settings) -> AsyncIterator[Site]:
    await require_node()
    async with _site(server, settings, NodeProvider(free_port(), ACCOUNTS)) as site:
        yield site


@pytest.fixture(scope="module")
async def mock_site(server: Server, settings: Settings) -> AsyncIterator[Site]:
    async with _site(server, settings, MockProvider(free_port(), ACCOUNTS)) as site:
        yield site


@pytest.fixture(params=["node_site", "mock_site"])
def site(request: pytest.FixtureRequest) -> Site:
    """Return the site of each provider."""
    found: Site = request.getfixturevalue(request.param)
    return found


@asynccontextmanager
async def _visiting(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """Visit the first instance. The only other origins are those of the provider."""
    async with visiting(browser, site.one.url) as visit:
        await visit.context.route(re.compile("^https://"), lambda route: route.fulfill(body=""))
        visit.expect_fault(f"request to another origin: {site.provider.origins}")
        yield visit
        assert not visit.unexpected, "\n".join(visit.unexpected)


async def _sign_in(site: Site, visit: Visit, account: str = "asha") -> None:
    """Sign in from the page of a stranger, and come back to that page."""
    page = visit.page
    await page.goto(visit.url + FLAGS)
    await page.get_by_role("link", name="Sign in with localhost").click()
    await site.provider.sign_in(page, account)
    await page.wait_for_url(f"**{FLAGS}")
    await expect(page.get_by_text(FLAG).first).to_be_visible()


@pytest.mark.parametrize("name", ["Sign in at http://127.0.0.1", "Sign in with localhost"])
async def test_sign_in_begun_at_another_host_ends_at_public_url(
    node_site: Site, browser: Browser, name: str
) -> None:
    """The cookies of one host are not sent to the other one."""
    async with _visiting(browser, node_site) as visit:
        page, url = visit.page, visit.url
        other = url.replace("127.0.0.1", "localhost")
        visit.expect_fault(f"request to another origin: {other}/console/")
        await page.goto(other + FLAGS)
        warning = page.get_by_text("You opened this page at localhost.")
        await expect(warning).to_be_visible()
        await visit.assert_accessible()

        await page.get_by_role("link", name=name).click()

        await expect(warning).to_have_count(0)
        assert page.url.startswith(f"{url}/console/sign-in")
        led = page.get_by_text("A page at another address led you here.")
        await expect(led).to_have_count(1 if "with" in name else 0)
        await page.get_by_role("link", name="Sign in with localhost").click()
        await node_site.provider.sign_in(page, "asha")
        await page.wait_for_url(url + FLAGS)
        await expect(page.get_by_text(FLAG).first).to_be_visible()


async def _status(visit: Visit, service: Service) -> int:
    """Return the status of a page on an instance. A browser sends its cookie to each port."""
    answer = await visit.context.request.get(service.url + FLAGS, max_redirects=0)
    return answer.status


async def _until_signed_out(visit: Visit, site: Site) -> None:
    """Wait until each instance leads to the sign-in."""
    for service in site.instances:

        async def is_out(service: Service = service) -> bool:
            return await _status(visit, service) == 303

        await until(is_out)


async def _refresh_claims(site: Site) -> None:
    """Refresh the claims of all sessions, as the service does after 45 minutes."""
    site.database.execute("update flagstone.oidc_sessions set refresh_at = current_timestamp")
    await site.one.component(ClaimsRefresh).run_once()
    for service in site.instances:
        await service.app[TOKENS].refresh()


async def _administer(service: Service, path: str, *, reason: str) -> None:
    async with service.client.post(path, json={"reason": reason}) as answer:
        assert answer.status == 200, await answer.text()


async def _logged(site: Site, event: str) -> list[tuple[object, ...]]:
    """Return the actors and the details of an event in the access log."""
    for service in site.instances:
        await service.app[ACCESS_LOG].run_once()
    query = "select actor, detail from flagstone.access_log where event = %s order by id"
    return site.database.execute(query, [event]).fetchall()


async def test_person_signs_in_and_works(site: Site, browser: Browser) -> None:
    async with _visiting(browser, site) as visit:
        await _sign_in(site, visit)
        page = visit.page
        await page.get_by_role("link", name=FLAG).click()
        await page.get_by_role("switch").click()
        form = page.locator("form[aria-labelledby=switch-title]")
        await form.get_by_label("Message").fill("Checkout fails")
        await form.get_by_role("button", name="Switch off").click()
        await page.wait_for_url("**saved=*")
        await page.get_by_role("link", name="History", exact=True).click()
        history = page.locator("#key-history")
        await expect(history).to_contain_text("Checkout fails")
        await expect(history).to_contain_text("Asha Otieno")

    path = "/v1/environments/local/changes"
    async with site.other.client.get(path) as answer:
        change = (await answer.json())["items"][0]
    assert change["actor"].startswith("person:")
    assert change["actor_name"] == "Asha Otieno"
    assert (change["actor"], None) in await _logged(site, "session_created")


async def test_lost_group_takes_rights_at_the_refresh(site: Site, browser: Browser) -> None:
    async with _visiting(browser, site) as visit:
        await _sign_in(site, visit, "juma")

        async def may_write() -> bool:
            # A form without fields: it is refused after the check of the rights.
            url = f"{visit.url}/console/environments/local/flag-switch/{FLAG}"
            headers = {"Origin": visit.url}
            answer = await visit.context.request.post(url, headers=headers, max_redirects=0)
            assert answer.status in {403, 415}
            return answer.status != 403

        assert await may_write()
        await site.provider.set_claims("juma", {**JUMA, "groups": ["readers"]})
        await _refresh_claims(site)
        assert not await may_write()
        for service in site.instances:
            assert await _status(visit, service) == 200

        await site.provider.set_claims("juma", {**JUMA, "groups": []})
        await _refresh_claims(site)
        for service in site.instances:
            assert await _status(visit, service) == 403

        await site.provider.set_claims("juma", JUMA)
        await _refresh_claims(site)
        assert await may_write()


async def test_sign_out_ends_the_session_here_and_there(site: Site, browser: Browser) -> None:
    async with _visiting(browser, site) as visit:
        await _sign_in(site, visit)
        page = visit.page
        await page.locator(".header details.menu-end > summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await site.provider.sign_out(page)

        await page.wait_for_url("**/signed-out*")
        await expect(page.get_by_text("The provider has ended its session too.")).to_be_visible()
        await _until_signed_out(visit, site)
        await page.go_back()
        await expect(page.get_by_text(FLAG)).to_have_count(0)


async def test_sign_out_at_the_provider_ends_the_session_here(
    node_site: Site, browser: Browser
) -> None:
    async with _visiting(browser, node_site) as visit:
        await _sign_in(node_site, visit)
        there = await visit.context.new_page()
        await there.goto(f"{node_site.provider.issuer}/session/end")
        await node_site.provider.sign_out(there)
        await expect(there.get_by_text("Signed out at the provider")).to_be_visible()

        await _until_signed_out(visit, node_site)
        await expect(visit.page.locator("#signed-out")).to_be_visible()
    ended = await _logged(node_site, "session_expired")
    assert "oidc: signed out at the provider" in [detail for _, detail in ended]


async def test_suspended_person_is_out_at_once(site: Site, browser: Browser) -> None:
    async with _visiting(browser, site) as visit, _visiting(browser, site) as another:
        await _sign_in(site, visit, "juma")
        query = "select id from flagstone.people where subject = 'juma'"
        (person_id,) = site.database.execute(query).fetchone() or ("",)
        await _administer(site.other, f"/v1/people/{person_id}/suspend", reason="left the company")

        # The open page has a stream of events, which ends too.
        await expect(visit.page.locator("#signed-out")).to_be_visible()
        await _until_signed_out(visit, site)

        def reason(page: Page) -> Locator:
            words = "An administrator has suspended your account."
            return page.get_by_role("alert").filter(has_text=words)

        visit.expect_fault("status of 403")
        await visit.page.goto(visit.url + FLAGS)
        await expect(reason(visit.page)).to_be_visible()

        another.expect_fault("status of 403")
        page = another.page
        await page.goto(another.url + FLAGS)
        await expect(reason(page)).to_have_count(0)
        await page.get_by_role("link", name="Sign in with localhost").click()
        await site.provider.sign_in(page, "juma")
        await expect(reason(page)).to_be_visible()
        assert await _status(another, site.one) == 303

    await _administer(site.one, f"/v1/people/{person_id}/restore", reason="is back")
    async with _visiting(browser, site) as visit:
        await _sign_in(site, visit, "juma")
    refused = await _logged(site, "authn_login_fail")
    assert (f"person:{person_id}", "person_suspended") in refused


async def test_rotated_keys_disturb_nobody(
    node_site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = node_site.provider
    assert isinstance(provider, NodeProvider)
    # The keys were read a moment ago.
    monkeypatch.setattr("app.access.oidc.provider.KEYS_PAUSE_SECONDS", 0.0)
    async with _visiting(browser, node_site) as visit:
        await _sign_in(node_site, visit)
        await provider.rotate_keys()
        await _refresh_claims(node_site)
        for service in node_site.instances:
            assert await _status(visit, service) == 200

    async with _visiting(browser, node_site) as another:
        await provider.rotate_keys()
        await _sign_in(node_site, another)


async def test_session_that_the_provider_forgot_ends_at_the_refresh(
    node_site: Site, browser: Browser
) -> None:
    provider = node_site.provider
    assert isinstance(provider, NodeProvider)
    async with _visiting(browser, node_site) as visit:
        await _sign_in(node_site, visit)
        await provider.forget()
        await _refresh_claims(node_site)

        await _until_signed_out(visit, node_site)
    ended = await _logged(node_site, "session_expired")
    assert "oidc: ended by the provider" in [detail for _, detail in ended]


async def test_provider_that_is_down_stops_only_its_sign_in(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a minute after the last answer of the provider.
    monkeypatch.setattr("app.access.oidc.flow.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("app.access.oidc.provider.PAUSE_SECONDS", 0.0)
    async with _visiting(browser, site) as visit, _visiting(browser, site) as stranger:
        await _sign_in(site, visit)
        await site.provider.stop()
        await _refresh_claims(site)
        for service in site.instances:
            assert await _status(visit, service) == 200

        stranger.expect_fault("status of 503")
        page = stranger.page
        await page.goto(stranger.url + FLAGS)
        await page.get_by_role("link", name="Sign in with localhost").click()
        alert = page.get_by_role("alert").filter(has_text="discovery document cannot be reached")
        await expect(alert).to_be_visible()
        await expect(alert).to_contain_text("Signing in with a token or a one-time link works")
        await page.get_by_label("Token").fill(site.one.admin_token)
        await page.get_by_role("button", name="Sign in with a token").click()
        await page.wait_for_url(f"**{FLAGS}")

    await site.provider.start(site.one.url)
    async with _visiting(browser, site) as visit:
        await _sign_in(site, visit)
