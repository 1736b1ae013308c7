"""Answers as providers of several makes send them, by their public documentation."""

from typing import Any

import pytest

from tests.api.access.oidc.conftest import Browser, Installation
from tests.oidc_provider import CLIENT_ID

# The members that replace those of the test's provider.
Kind = dict[str, Any]
KEYCLOAK = {
    "id_token_changes": {"aud": [CLIENT_ID, "account"], "azp": CLIENT_ID, "typ": "ID"},
    "claims": {"sub": "f:1", "name": "Asha", "groups": ["platform"], "email_verified": False},
}
ENTRA = {
    "id_token_changes": {"sid": None, "at_hash": None, "ver": "2.0", "tid": "t", "oid": "o"},
    "claims": {"sub": "AAAA", "name": "Asha", "groups": ["5c1c7e0e-0000-4000-8000-0000000000a1"]},
    "metadata_changes": {"authorization_response_iss_parameter_supported": None},
    "callback_changes": {"iss": None, "session_state": "x"},
}
# The groups are only at the userinfo endpoint.
OKTA = {
    "claims": {"sub": "00u1", "name": "Asha", "groups": ["platform"], "email": "a@example.org"},
    "userinfo_only": frozenset({"name", "groups", "email"}),
    "gives_refresh_token": False,
}
GOOGLE = {
    "id_token_changes": {"azp": CLIENT_ID, "sid": None},
    "claims": {"sub": "1", "name": "Asha", "email": "a@example.org", "email_verified": True},
    "metadata_changes": {
        "authorization_response_iss_parameter_supported": None,
        "end_session_endpoint": None,
    },
    "callback_changes": {"iss": None, "scope": "openid email", "authuser": "0", "prompt": "none"},
    "gives_refresh_token": False,
}
COGNITO = {
    "id_token_changes": {"sid": None, "token_use": "id"},
    "claims": {"sub": "c-1", "name": "Asha", "email": "a@example.org", "email_verified": "false"},
    "metadata_changes": {"authorization_response_iss_parameter_supported": None},
    "callback_changes": {"iss": None},
}


@pytest.mark.parametrize(
    ("kind", "email", "groups"),
    [
        pytest.param(KEYCLOAK, "", ["platform"], id="Keycloak"),
        pytest.param(ENTRA, "", ["5c1c7e0e-0000-4000-8000-0000000000a1"], id="Entra ID"),
        pytest.param(OKTA, "a@example.org", ["platform"], id="Okta"),
        pytest.param(GOOGLE, "a@example.org", [], id="Google"),
        pytest.param(COGNITO, "", [], id="Cognito"),
    ],
)
async def test_person_of_each_kind_of_provider_signs_in(
    installation: Installation, browser: Browser, kind: Kind, email: str, groups: list[str]
) -> None:
    for name, value in kind.items():
        setattr(installation.provider, name, value)
    page = await browser.sign_in()

    assert page.status == 200, page.alert
    people = installation.rows("select name, email, groups from flagstone.people")
    assert people == [("Asha", email, groups)]
    await installation.refresh_now()
    assert await browser.is_signed_in()


async def test_entra_above_200_groups_is_refused_in_words(
    installation: Installation, browser: Browser
) -> None:
    """Microsoft Entra ID then names where an application could ask for them."""
    overage = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}}
    installation.provider.claims = {"sub": "AAAA", "name": "Asha", **overage}
    page = await browser.sign_in()

    assert page.status == 401
    assert "you have more groups than the provider sends" in page.alert


async def test_one_document_for_all_tenants_asks_for_a_tenant(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.metadata_changes = {"issuer": "https://login.example/{tenantid}/v2.0"}
    page = await browser.get("/console/sign-in/oidc")

    assert page.status == 503
    assert "Name a single tenant in OIDC_ISSUER" in page.alert
