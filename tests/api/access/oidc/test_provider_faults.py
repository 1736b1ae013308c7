"""A provider that is down, slow, broken or hostile: said in words, and nothing else stops."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from app.access.oidc.client import ANSWER_BYTES_MAX
from app.access.oidc.keys import OIDC
from app.components import ReportScope, Status
from app.operations.doctor.findings import FindingVerdict
from app.operations.doctor.host_checks import check_provider
from app.operations.doctor.installation import Installation as DoctorInstallation
from app.settings import OidcSettings, Settings
from tests.api.access.oidc.conftest import START, Browser, Installation
from tests.conftest import serving
from tests.oidc_provider import CLIENT_ID, OidcProvider
from tests.ports import free_port
from tests.waiting import HANG_SECONDS, until

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
TOKEN, USERINFO = "/token", "/userinfo"
NAMES = {
    DISCOVERY: "discovery document",
    KEYS: "key set",
    TOKEN: "token endpoint",
    USERINFO: "userinfo endpoint",
}


def text_of(body: str, content_type: str = "application/json", status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type=content_type, status=status)

    return answer


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": str(request.url)})


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = 1_000
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(200):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


HOSTILE = [
    (text_of("<h1>Proxy error</h1>", "text/html"), "does not answer with JSON"),
    (text_of("<h1>Down</h1>", "text/html", 502), "status 502"),
    (text_of('{"error": "x"}', status=500), "status 500"),
    (text_of(" " * 10_000_000), f"more than {ANSWER_BYTES_MAX // 1024} KiB"),
    (text_of("[1]"), "does not answer with a JSON object"),
    (text_of("{"), "does not answer with a JSON object"),
    (text_of("[" * 200_000), "does not answer with a JSON object"),
    (redirect, "redirect, which is not followed"),
    (break_off, "did not send a whole answer"),
]


@pytest.mark.parametrize("path", NAMES)
@pytest.mark.parametrize(("answer", "words"), HOSTILE)
async def test_unusable_answer_is_explained(
    installation: Installation, browser: Browser, path: str, answer: Answer, words: str
) -> None:
    installation.provider.userinfo_only = frozenset({"groups"})
    address = await browser.go_to_provider() if path in (TOKEN, USERINFO) else START
    installation.provider.answers[path] = answer
    page = await browser.get(address)

    assert page.status == 503, page.html
    assert f"The provider's {NAMES[path]}" in page.alert
    assert words in page.alert
    assert "token or a one-time link works as before" in page.alert
    assert page.answer.headers["Retry-After"] == "10"
    assert "Proxy error" not in page.html
    assert installation.provider.issuer not in page.alert
    (reason,) = await installation.refusals()
    assert reason.startswith(f"oidc: The provider's {NAMES[path]}")
    assert words in reason


async def test_access_token_that_cannot_be_sent_is_explained(
    installation: Installation, browser: Browser
) -> None:
    provider = installation.provider

    async def answer(request: web.Request) -> web.StreamResponse:
        given = await provider.answer_token(request)
        assert isinstance(given, web.Response)
        assert given.text is not None
        return web.json_response(json.loads(given.text) | {"access_token": "a\nb"})

    provider.userinfo_only = frozenset({"groups"})
    provider.id_token_changes = {"at_hash": None}
    provider.answers[TOKEN] = answer
    page = await browser.sign_in()

    assert page.status == 503, page.html
    assert "userinfo endpoint has an unusable address, or gave a token" in page.alert


async def test_address_without_a_possible_host_is_explained(
    installation: Installation, browser: Browser
) -> None:
    """No label of a name has more than 63 characters."""
    host = f"{'a' * 64}.example"
    installation.provider.metadata_changes = {"token_endpoint": f"https://{host}/token"}
    page = await browser.sign_in()

    assert page.status == 503, page.html
    assert "token endpoint has an unusable address" in page.alert


async def test_slow_answer_ends_at_its_limit(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.client.ANSWER_SECONDS", 0.3)
    installation.provider.answers[DISCOVERY] = drip
    begun = time.monotonic()
    page = await browser.get(START)

    # The whole answer takes 10 seconds.
    assert time.monotonic() - begun < 5
    assert page.status == 503
    assert "did not answer within 0.3 seconds" in page.alert
    (reason,) = await installation.refusals()
    assert "did not answer within 0.3 seconds" in reason


async def test_failure_is_remembered_for_a_moment(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of sign-ins does not become one of calls."""
    monkeypatch.setattr("app.access.oidc.provider.PAUSE_SECONDS", HANG_SECONDS)
    installation.provider.answers[DISCOVERY] = text_of("", status=503)
    for _ in range(5):
        assert (await browser.get(START)).status == 503

    assert installation.provider.calls == [DISCOVERY]


async def test_provider_that_recovers_is_used_again(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.provider.PAUSE_SECONDS", 0.0)
    installation.provider.answers[DISCOVERY] = text_of("", status=503)
    assert (await browser.get(START)).status == 503
    form = await browser.get("/console/sign-in")
    assert "status 503" in form.main.text
    assert "works as before" in form.main.text
    installation.provider.answers.clear()

    assert (await browser.sign_in()).status == 200
    assert "status 503" not in (await browser.get("/console/sign-in")).html


async def test_discovery_of_another_issuer_is_refused(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.metadata_changes = {"issuer": "https://evil.example"}
    page = await browser.get(START)

    assert page.status == 503
    assert "another issuer than OIDC_ISSUER" in page.alert
    (reason,) = await installation.refusals()
    assert "another issuer than OIDC_ISSUER" in reason
    assert "evil" not in page.alert + reason


async def test_wrong_client_secret_is_explained(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.client_secret = "another"
    page = await browser.sign_in()

    assert page.status == 503
    assert "Check OIDC_CLIENT_ID and OIDC_CLIENT_SECRET" in page.alert


@pytest.mark.parametrize("methods", [["client_secret_post"], None])
async def test_client_authenticates_as_the_provider_asks(
    installation: Installation, browser: Browser, methods: list[str] | None
) -> None:
    installation.provider.metadata_changes = {"token_endpoint_auth_methods_supported": methods}

    assert (await browser.sign_in()).status == 200


async def test_unsupported_client_authentication_is_explained(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.metadata_changes = {
        "token_endpoint_auth_methods_supported": ["private_key_jwt"]
    }
    page = await browser.get(START)

    assert "accepts no client secret" in page.alert


async def test_public_client_needs_no_secret(installation: Installation, browser: Browser) -> None:
    provider = installation.sign_in.provider
    provider.settings = replace(provider.settings, client_secret=None)
    installation.provider.client_secret = None

    assert (await browser.sign_in()).status == 200


async def test_health_says_what_is_wrong_and_only_warns(
    installation: Installation, browser: Browser
) -> None:
    component = installation.sign_in.provider
    (check,) = component.checks(ReportScope()).values()
    assert (check.status, check.output) == (
        Status.WARN,
        "The provider's discovery document was not read yet.",
    )
    await browser.sign_in()
    (check,) = component.checks(ReportScope()).values()
    assert (check.status, check.observed_value, check.output) == (Status.PASS, 1, None)
    installation.provider.answers[TOKEN] = text_of("", status=500)
    await browser.sign_in()
    (check,) = component.checks(ReportScope()).values()
    assert (check.status, check.output) == (
        Status.WARN,
        "The provider's token endpoint answers with status 500.",
    )


async def test_service_starts_and_serves_without_the_provider(settings: Settings) -> None:
    oidc = OidcSettings(
        issuer=f"http://127.0.0.1:{free_port()}",
        client_id=CLIENT_ID,
        client_secret=None,
        scopes=("openid",),
        groups_claim="groups",
    )
    http = replace(settings.http, public_url="http://127.0.0.1:1")
    async with serving(replace(settings, oidc=oidc, http=http)) as service:
        async with service.stranger.get("/health/ready") as answer:
            assert answer.status == 200
        provider = service.app[OIDC].provider

        async def has_failed() -> bool:
            return provider.failure is not None

        await until(has_failed)
        async with service.client.get("/health") as answer:
            report = await answer.json()
        assert report["status"] == "warn"
        assert report["checks"]["oidc:provider"][0]["output"] == (
            "The provider's discovery document cannot be reached."
        )
        async with service.client.get("/metrics") as answer:
            assert 'flagstone_oidc_provider_up{worker="1"} 0.0' in await answer.text()
        async with service.client.get("/v1/environments") as answer:
            assert answer.status == 200


async def test_sign_in_after_a_failure_asks_the_provider_first(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser is not led to a provider that is known to be down."""
    monkeypatch.setattr("app.access.oidc.provider.PAUSE_SECONDS", 0.0)
    await browser.sign_in()
    installation.provider.answers |= {path: text_of("", status=500) for path in (DISCOVERY, TOKEN)}
    assert (await browser.sign_in()).status == 503

    assert (await browser.get(START)).status == 503


async def test_doctor_says_whether_the_provider_is_usable(
    provider: OidcProvider, settings: Settings
) -> None:
    oidc = OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=None,
        scopes=("openid",),
        groups_claim="groups",
    )
    doctor = DoctorInstallation(settings=replace(settings, oidc=oidc))
    (good,) = await check_provider(doctor)
    provider.metadata_changes = {"issuer": "https://other.example"}
    (bad,) = await check_provider(doctor)

    assert good.verdict is FindingVerdict.PASS
    assert bad.verdict is FindingVerdict.WARN
    assert "another issuer than OIDC_ISSUER" in bad.text
    assert bad.text.endswith(f"The document is {provider.issuer}/.well-known/openid-configuration")
    assert await check_provider(DoctorInstallation(settings=settings)) == []
