"""Hostile tokens and claims from end to end: the answer, its words, and the access log."""

import base64
import hmac
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.api.access.oidc.conftest import PAGE, Browser, Installation
from tests.oidc_provider import OidcProvider
from tests.people import sign_in_person

Claims = dict[str, Any]
SKEW_MINUTES = 5
FAR_FUTURE = 9_000_000_000


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _with_hmac(provider: OidcProvider) -> None:
    """Sign with HS256, and take the published key as the secret."""
    secret = provider.key.as_pem(private=False)

    def sign(claims: Claims) -> str:
        header = msgspec.json.encode({"alg": "HS256", "kid": provider.key.kid})
        content = f"{_segment(header)}.{_segment(msgspec.json.encode(claims))}"
        return f"{content}.{_segment(hmac.digest(secret, content.encode(), 'sha256'))}"

    provider.sign = sign


def _unsigned(provider: OidcProvider) -> None:
    header = _segment(b'{"alg":"none"}')
    provider.sign = lambda claims: f"{header}.{_segment(msgspec.json.encode(claims))}."


def _without_signature(provider: OidcProvider) -> None:
    signed = provider.signed
    provider.sign = lambda claims: signed(claims).rpartition(".")[0] + "."


def _with_unpublished_key(provider: OidcProvider) -> None:
    published = provider.published
    provider.rotate("k2")
    provider.published = published


def _with_another_key(provider: OidcProvider) -> None:
    """Sign with a key of the attacker that has the ID of the published one."""
    other = OidcProvider()
    other.rotate("k2")
    provider.sign = lambda claims: other.signed(claims, kid=str(provider.key.kid))


def _as_logout_token(provider: OidcProvider) -> None:
    signed = provider.signed
    provider.sign = lambda claims: signed(claims, typ="logout+jwt")


def _claims(**changes: Any) -> Callable[[OidcProvider], None]:
    def change(provider: OidcProvider) -> None:
        provider.id_token_changes = changes

    return change


def _minutes(name: str, minutes: float) -> Callable[[OidcProvider], None]:
    """Set a time of the token. With clocks that differ, a good token has such times."""

    def change(provider: OidcProvider) -> None:
        provider.id_token_changes = {name: int(time.time() + 60 * minutes)}

    return change


# For ID tokens and logout tokens.
FORGERIES = [
    pytest.param(_unsigned, "signature algorithm that is not allowed", id="alg none"),
    pytest.param(_with_hmac, "signature algorithm that is not allowed", id="HS256"),
    pytest.param(_without_signature, "signature of the token is wrong", id="no signature"),
    pytest.param(_with_unpublished_key, "key that the provider does not publish", id="key"),
    pytest.param(_with_another_key, "signature of the token is wrong", id="another key"),
]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        *FORGERIES,
        pytest.param(_as_logout_token, "its typ is wrong", id="logout token"),
        pytest.param(_minutes("exp", -6), "the token has expired", id="expired"),
        pytest.param(_minutes("iat", 6), "the token is from the future", id="issued later"),
        pytest.param(_claims(iat=FAR_FUTURE, nbf=0), "from the future", id="issued after nbf"),
        pytest.param(_minutes("nbf", 6), "the token is from the future", id="not before"),
        pytest.param(_claims(exp="soon"), "the claim exp is missing", id="exp of another type"),
        pytest.param(_claims(iat=True), "the claim iat is missing", id="iat of another type"),
        pytest.param(_claims(sub=5), "the claim sub is missing", id="sub of another type"),
        pytest.param(_claims(sub=None), "the claim sub is missing", id="no sub"),
        pytest.param(_claims(sub="s" * 256), "the claim sub", id="sub above its length"),
        pytest.param(_claims(sub="a\nb"), "cannot be printed", id="sub with a line break"),
        pytest.param(_claims(iss="https://evil.example"), "another issuer", id="issuer"),
        pytest.param(_claims(aud=["a", "b"]), "another application", id="audience"),
        pytest.param(_claims(azp="other"), "another application", id="party"),
        pytest.param(_claims(nonce="other"), "nonce is wrong", id="nonce of another sign-in"),
        pytest.param(_claims(nonce=None), "nonce is wrong", id="no nonce"),
        pytest.param(_claims(nonce=["x"]), "nonce is wrong", id="nonce of another type"),
        pytest.param(_claims(at_hash="AAAA"), "access token", id="another access token"),
        pytest.param(_claims(groups=[1]), "OIDC_GROUPS_CLAIM", id="groups of another type"),
        pytest.param(_claims(groups={"a": 1}), "OIDC_GROUPS_CLAIM", id="groups as an object"),
        pytest.param(_claims(groups=[f"g{n}" for n in range(5_000)]), "5000 groups", id="groups"),
    ],
)
async def test_fault_of_the_token_is_refused_and_logged(
    installation: Installation,
    browser: Browser,
    fault: Callable[[OidcProvider], None],
    words: str,
) -> None:
    fault(installation.provider)
    page = await browser.sign_in()

    assert page.status == 401
    assert words in page.alert
    assert not await browser.is_signed_in()
    assert installation.rows("select id from flagstone.people") == []
    ((event, decision, actor, detail),) = await installation.log()
    assert (event, decision, actor) == ("authn_login_fail", "refused", "anonymous")
    assert str(detail).startswith("oidc: ")
    assert words in str(detail)


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param(_minutes("exp", 1 - SKEW_MINUTES), id="expired within the skew"),
        pytest.param(_minutes("iat", SKEW_MINUTES - 1), id="issued within the skew"),
        pytest.param(_minutes("nbf", SKEW_MINUTES - 1), id="not before within the skew"),
        pytest.param(_claims(name=5, email=["a"], groups=None), id="optional claims"),
        pytest.param(_claims(name="\u202eevil\n", email="x" * 300), id="unprintable claims"),
    ],
)
async def test_harmless_difference_is_accepted(
    installation: Installation, browser: Browser, harmless: Callable[[OidcProvider], None]
) -> None:
    harmless(installation.provider)

    assert (await browser.sign_in()).status == 200
    assert await browser.is_signed_in()
    ((name, email),) = installation.rows("select name, email from flagstone.people")
    assert str(name).isprintable()
    assert len(str(email)) <= 254


async def test_same_email_of_two_issuers_is_two_people(
    installation: Installation, browser: Browser
) -> None:
    await sign_in_person(installation.service, "asha", issuer="https://other.example.com")
    installation.provider.claims["email"] = "asha@example.com"
    await browser.sign_in()

    people = installation.rows("select email, count(*) from flagstone.people group by email")
    assert people == [("asha@example.com", 2)]


async def test_logout_at_the_provider_ends_every_browser(installation: Installation) -> None:
    provider = installation.provider
    async with installation.browser() as one, installation.browser() as other:
        for browser in (one, other):
            await browser.sign_in()
        token = provider.logout_token(sid=None)
        url = "/console/oidc/back-channel-logout"
        async with installation.service.stranger.post(url, data={"logout_token": token}) as answer:
            assert answer.status == 200, await answer.text()
        for browser in (one, other):
            assert not await browser.is_signed_in()
            assert (await browser.get(PAGE)).status == 303
    ended = [row for row in await installation.log() if row[0] == "session_expired"]
    assert [row[3] for row in ended] == ["oidc: signed out at the provider"] * 2
