"""Discovery documents of other issuers, without endpoints, and with unsafe ones."""

from typing import Any

import pytest

from app.access.oidc.client import ProviderFault
from app.access.oidc.discovery import address_of, read_metadata

ISSUER = "https://id.example.org/realm"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://id.example.org/authorize",
    "token_endpoint": "https://tokens.example.net/token",
    "jwks_uri": "https://id.example.org/keys",
}


@pytest.mark.parametrize("issuer", [ISSUER, ISSUER + "/"])
def test_document_is_below_the_issuer(issuer: str) -> None:
    assert address_of(issuer) == f"{ISSUER}/.well-known/openid-configuration"


def test_document_with_the_required_fields_is_enough() -> None:
    metadata = read_metadata({**DOCUMENT, "unknown": [1]}, ISSUER)

    assert metadata.token_endpoint == "https://tokens.example.net/token"
    assert metadata.userinfo_endpoint is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": ISSUER + "/"}, "another issuer than OIDC_ISSUER. Only the slash at the end"),
        ({"issuer": ISSUER + "x"}, "another issuer than OIDC_ISSUER. Copy it from the document"),
        ({"issuer": "https://login.example/{tenantid}/v2.0"}, "a single tenant in OIDC_ISSUER"),
        ({"issuer": 1}, "wrong type, issuer"),
        ({"response_types_supported": "code"}, "wrong type, response_types_supported"),
        ({"response_types_supported": ["id_token"]}, "response type code"),
        ({"token_endpoint": "http://id.example.org/token"}, "https address in token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "https address in jwks_uri"),
        ({"jwks_uri": "https://"}, "https address in jwks_uri"),
        ({"jwks_uri": "https://[::1/keys"}, "https address in jwks_uri"),
        ({"jwks_uri": "https://a:b@id.example.org/keys"}, "https address in jwks_uri"),
        ({"end_session_endpoint": "javascript:alert(1)"}, "https address in end_session_endpoint"),
        ({"authorization_endpoint": "http://127.0.0.1/a"}, "in authorization_endpoint"),
    ],
)
def test_document_that_is_unusable_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProviderFault, match=words):
        read_metadata({**DOCUMENT, **changes}, ISSUER)


@pytest.mark.parametrize("name", sorted(DOCUMENT))
def test_document_without_a_required_field_is_refused(name: str) -> None:
    document = {field: value for field, value in DOCUMENT.items() if field != name}

    with pytest.raises(ProviderFault, match=f"lacks {name}"):
        read_metadata(document, ISSUER)


def test_provider_on_this_machine_may_use_http() -> None:
    issuer = "http://127.0.0.1:9000"
    local = {name: f"{issuer}/{name}" for name in DOCUMENT} | {"issuer": issuer}

    assert read_metadata(local, issuer).token_endpoint == f"{issuer}/token_endpoint"
    with pytest.raises(ProviderFault, match="https address in token_endpoint"):
        read_metadata({**local, "token_endpoint": "http://10.0.0.1/token"}, issuer)
