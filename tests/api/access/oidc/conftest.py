"""A service that signs people in with a provider, and browsers that go there and back."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar
from yarl import URL

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.oidc.flow import OidcSignIn
from app.access.oidc.keys import OIDC
from app.access.oidc.provider import Provider
from app.access.oidc.refresh import ClaimsRefresh
from app.http.keys import DATABASE
from app.settings import OidcSettings, Secret
from tests.conftest import Admin, Service
from tests.html import Element, parse_html
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider

START, CALLBACK = "/console/sign-in/oidc", "/console/sign-in/oidc/callback"
BACK_CHANNEL = "/console/oidc/back-channel-logout"
PAGE = "/console/environments/local/flags"


@dataclass(frozen=True, kw_only=True)
class Page:
    """An answer of the service that was read."""

    status: int
    html: str
    answer: ClientResponse

    @property
    def main(self) -> Element:
        return parse_html(self.html).one("main")

    @property
    def alert(self) -> str:
        """The reason of a refusal."""
        return parse_html(self.html).one("div", class_="notice-danger").text


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A browser, which follows no redirect by itself."""

    session: ClientSession

    async def get(self, address: str | URL, **headers: str) -> Page:
        async with self.session.get(address, headers=headers, allow_redirects=False) as answer:
            return Page(status=answer.status, html=await answer.text(), answer=answer)

    async def post(self, path: str, **form: str) -> Page:
        async with self.session.post(path, data=form, allow_redirects=False) as answer:
            return Page(status=answer.status, html=await answer.text(), answer=answer)

    async def go_to_provider(self, next_: str = PAGE) -> URL:
        """Begin a sign-in, and return the address of the callback that the provider leads to."""
        begun = await self.get(URL(START).with_query(next=next_))
        assert begun.status == 303, begun.html
        async with self.session.get(
            begun.answer.headers["Location"], allow_redirects=False
        ) as answer:
            assert answer.status == 303, await answer.text()
            return URL(answer.headers["Location"])

    async def sign_in(self, next_: str = PAGE) -> Page:
        return await self.get(await self.go_to_provider(next_), **{"Sec-Fetch-Site": "cross-site"})

    async def is_signed_in(self) -> bool:
        """Return whether a page knows the session, also of a person without rights."""
        page = await self.get("/console/sessions")
        return page.status != 303

    def cookie(self, name: str) -> str | None:
        found = [morsel.value for morsel in self.session.cookie_jar if morsel.key == name]
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The service with its provider."""

    service: Service
    provider: OidcProvider
    sign_in: OidcSignIn
    refresh: ClaimsRefresh
    cleaner: Admin

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        # A jar refuses cookies of an IP address otherwise.
        jar = CookieJar(unsafe=True)
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with ClientSession(
            base_url=self.service.url, cookie_jar=jar, headers=headers
        ) as session:
            yield Browser(session=session)

    async def log(self) -> list[tuple[object, ...]]:
        """Return (event, decision, actor, detail) of each access."""
        await self.service.app[ACCESS_LOG].run_once()
        return self.cleaner.execute(
            "select event, decision, actor, detail from flagstone.access_log order by id"
        ).fetchall()

    async def refusals(self) -> list[str]:
        """Return the reasons of the refused sign-ins in the access log."""
        refused = ("authn_login_fail", "refused", "anonymous")
        return [str(detail) for *row, detail in await self.log() if tuple(row) == refused]

    async def refresh_now(self) -> None:
        """Refresh the claims of all sessions, as after 45 minutes."""
        self.cleaner.execute(
            "update flagstone.oidc_sessions set refresh_at = current_timestamp "
            "where refresh_at is not null"
        )
        await self.refresh.run_once()
        await self.service.app[TOKENS].refresh()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.cleaner.execute(query.encode()).fetchall()


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider().running() as provider:
        yield provider


@pytest.fixture
async def installation(
    service: Service, provider: OidcProvider, cleaner: Admin
) -> AsyncIterator[Installation]:
    """Yield the running service with this provider. A test has no hour to wait for `run`."""
    settings = OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        scopes=("openid", "profile"),
        groups_claim="groups",
    )
    app = service.app
    component = Provider(settings)
    sign_in = OidcSignIn(component, service.url, app[TOKENS].key)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        app[OIDC] = sign_in
    try:
        yield Installation(
            service=service,
            provider=provider,
            sign_in=sign_in,
            refresh=ClaimsRefresh(app[DATABASE], sign_in, app[ACCESS_LOG]),
            cleaner=cleaner,
        )
    finally:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            del app[OIDC]
        await component.close()


@pytest.fixture
async def browser(installation: Installation) -> AsyncIterator[Browser]:
    async with installation.browser() as browser:
        yield browser
