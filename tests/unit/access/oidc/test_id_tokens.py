"""The checks of an ID token, one claim at a time."""

from typing import Any

import pytest

from app.access.oidc.id_tokens import (
    Audience,
    check_access_token,
    check_id_token,
)
from app.access.oidc.signatures import TokenError

NOW = 1_800_000_000.0
AUDIENCE = Audience(issuer="https://id.example.org", client_id="flagstone")
ABSENT = object()


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "iss": AUDIENCE.issuer,
        "sub": "u-1",
        "aud": AUDIENCE.client_id,
        "exp": NOW + 60,
        "iat": NOW,
        "nonce": "n-1",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ABSENT}


def check(**changes: Any) -> None:
    check_id_token(claims(**changes), AUDIENCE, now=NOW, nonce="n-1")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["flagstone"]},
        {"aud": ["flagstone", "other"], "azp": "flagstone"},
        {"azp": "flagstone"},
        # 5 minutes of skew.
        {"exp": NOW - 299},
        {"iat": NOW + 299},
        {"nbf": NOW + 299},
        {"sub": "ü" * 255},
    ],
)
def test_id_token_with_good_claims_is_accepted(changes: dict[str, Any]) -> None:
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": AUDIENCE.issuer + "/"}, "another issuer"),
        ({"iss": ABSENT}, "another issuer"),
        ({"iss": ["https://id.example.org"]}, "another issuer"),
        ({"aud": "other"}, "another application"),
        ({"aud": ABSENT}, "another application"),
        ({"aud": {"flagstone": 1}}, "another application"),
        ({"aud": "flagstone-2"}, "another application"),
        ({"aud": ["flagstone", "other"]}, "issued to another"),
        ({"azp": "other"}, "issued to another"),
        ({"azp": ""}, "issued to another"),
        ({"exp": NOW - 301}, "expired"),
        ({"exp": ABSENT}, "exp is missing"),
        ({"exp": str(NOW + 60)}, "exp is missing"),
        ({"exp": True}, "exp is missing"),
        ({"iat": NOW + 301}, "future"),
        ({"iat": ABSENT}, "iat is missing"),
        ({"nbf": NOW + 301}, "future"),
        ({"nbf": "soon"}, "nbf is missing"),
        ({"nonce": "n-2"}, "nonce"),
        ({"nonce": ABSENT}, "nonce"),
        ({"nonce": 1}, "nonce"),
        ({"sub": ABSENT}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 1}, "sub"),
        ({"sub": "u" * 256}, "sub"),
        ({"sub": "u\n1"}, "sub"),
    ],
)
def test_id_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError, match=reason):
        check(**changes)


@pytest.mark.parametrize("nonce", [ABSENT, "n-1"])
def test_refreshed_id_token_may_lack_the_nonce(nonce: object) -> None:
    check_id_token(claims(nonce=nonce), AUDIENCE, now=NOW, nonce="n-1", subject="u-1")


def test_refreshed_id_token_with_another_nonce_is_refused() -> None:
    with pytest.raises(TokenError, match="nonce"):
        check_id_token(claims(nonce="n-2"), AUDIENCE, now=NOW, nonce="n-1", subject="u-1")


def test_refreshed_id_token_of_another_person_is_refused() -> None:
    with pytest.raises(TokenError, match="another person"):
        check_id_token(claims(), AUDIENCE, now=NOW, nonce="n-1", subject="u-2")


# The example of OpenID Connect Core 1.0, appendix A.3.
EXAMPLE = ("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "77QmUPtjPfzWtF2AnpK9RQ")


def test_at_hash_of_the_specification_is_accepted() -> None:
    check_access_token({"at_hash": EXAMPLE[1]}, "RS256", EXAMPLE[0])
    check_access_token({}, "RS256", EXAMPLE[0])


@pytest.mark.parametrize("value", ["", None, 1, EXAMPLE[1] + "="])
def test_at_hash_of_another_access_token_is_refused(value: object) -> None:
    with pytest.raises(TokenError, match="access token"):
        check_access_token({"at_hash": value}, "RS256", EXAMPLE[0])
    with pytest.raises(TokenError, match="access token"):
        check_access_token({"at_hash": EXAMPLE[1]}, "RS512", EXAMPLE[0])
