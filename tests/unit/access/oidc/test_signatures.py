"""Tokens that are unsigned, or signed with another algorithm or key."""

import base64
import hmac
import json
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from app.access.oidc.signatures import (
    ALGORITHMS,
    KEYS_MAX,
    KeyChangedError,
    KeyUnknownError,
    TokenError,
    check_kind,
    import_keys,
    verified_claims,
)
from tests.oidc_provider import rsa_key

RSA = rsa_key("k1")
CLAIMS = {"sub": "u-1"}
LOGOUT = "logout+jwt"
OFFERED = (*sorted(ALGORITHMS), "none", "HS256")


def public(*keys: Key) -> list[Key]:
    return list(import_keys({"keys": [key.as_dict(private=False) for key in keys]}))


def token(key: Key, claims: Any = CLAIMS, **header: Any) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact(header, payload, key, algorithms=[header["alg"]])


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


# joserfc warns when it signs with the name EdDSA, which many providers use.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *[(name, RSA) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
        ("ES256", ECKey.generate_key("P-256")),
        ("ES384", ECKey.generate_key("P-384")),
        ("ES512", ECKey.generate_key("P-521")),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
def test_each_algorithm_verifies(algorithm: str, key: Key) -> None:
    text = token(key, alg=algorithm)

    assert verified_claims(text, public(key), OFFERED) == (algorithm, "", CLAIMS)
    with pytest.raises(TokenError, match="not allowed"):
        verified_claims(text, public(key), ALGORITHMS - {algorithm})


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_unsigned_token_is_refused(name: str) -> None:
    for signature in ("", "AAAA"):
        text = f"{part({'alg': name})}.{part(CLAIMS)}.{signature}"
        with pytest.raises(TokenError):
            verified_claims(text, public(RSA), OFFERED)


def test_hmac_with_the_public_key_is_refused() -> None:
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        header, payload = part({"alg": "HS256", "kid": "k1"}), part(CLAIMS)
        # joserfc refuses to sign with a public key as a secret.
        digest = hmac.digest(secret, f"{header}.{payload}".encode(), "sha256")
        signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        with pytest.raises(TokenError, match="not allowed"):
            verified_claims(f"{header}.{payload}.{signature}", public(RSA), OFFERED)


def test_token_with_a_changed_part_is_refused() -> None:
    header, payload, signature = token(RSA, alg="RS256", kid="k1").split(".")
    forged = part({"sub": "u-2"})
    for text in (
        f"{header}.{forged}.{signature}",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.",
        f"{part({'alg': 'RS512', 'kid': 'k1'})}.{payload}.{signature}",
        f"{part({'alg': 'PS256', 'kid': 'k1'})}.{payload}.{signature}",
    ):
        with pytest.raises(TokenError, match="signature"):
            verified_claims(text, public(RSA), OFFERED)


@pytest.mark.parametrize("content", [b'{"sub": "\\ud800"}', b'{"sub": "\xff"}', b"{", b"[" * 5_000])
def test_content_that_cannot_be_read_is_named(content: bytes) -> None:
    text = jws.serialize_compact({"alg": "RS256", "kid": "k1"}, content, RSA)

    with pytest.raises(TokenError, match="content of the token"):
        verified_claims(text, public(RSA), OFFERED)


def test_key_in_the_header_is_ignored() -> None:
    other = rsa_key("k2")
    text = token(other, alg="RS256", kid="k1", jwk=other.as_dict(private=False))

    with pytest.raises(TokenError, match="signature"):
        verified_claims(text, public(RSA), OFFERED)


def test_unknown_key_id_is_reported() -> None:
    with pytest.raises(KeyUnknownError):
        verified_claims(token(RSA, alg="RS256", kid="k9"), public(RSA), OFFERED)
    with pytest.raises(KeyUnknownError):
        verified_claims(token(RSA, alg="RS256", kid="k1"), [], OFFERED)


def test_token_without_a_key_id_needs_a_single_key() -> None:
    text = token(RSA, alg="RS256")

    assert verified_claims(text, public(RSA, ECKey.generate_key("P-256")), OFFERED).claims == CLAIMS
    with pytest.raises(KeyChangedError, match="does not say"):
        verified_claims(text, public(RSA, rsa_key("k2")), OFFERED)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a.b", "a.b.c", "a.b.c.d.e", "é.é.é", "=.=.="),
        f"{part([])}.{part(CLAIMS)}.AAAA",
        f"{part({'alg': []})}.{part(CLAIMS)}.AAAA",
        f"{part({'alg': 'RS256', 'kid': []})}.{part(CLAIMS)}.AAAA",
        f"{part({'alg': 'RS256', 'crit': ['x'], 'x': 1})}.{part(CLAIMS)}.AAAA",
        f"{part({'alg': 'RS256', 'x': 'y' * 20_000})}.{part(CLAIMS)}.AAAA",
        f"{part({'alg': 'RS256', 'b64': False, 'crit': ['b64']})}.{part(CLAIMS)}.AAAA",
    ],
)
def test_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        verified_claims(text, public(RSA), OFFERED)


@pytest.mark.parametrize("claims", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_signed_token_without_claims_is_refused(claims: bytes) -> None:
    with pytest.raises(TokenError):
        verified_claims(token(RSA, claims, alg="RS256"), public(RSA), OFFERED)


@pytest.mark.parametrize("kind", ["JWT", "application/jwt", "logout+jwt", "LOGOUT+JWT"])
def test_token_of_the_expected_kind_is_accepted(kind: str) -> None:
    check_kind(verified_claims(token(RSA, alg="RS256", typ=kind), public(RSA), OFFERED), LOGOUT)


@pytest.mark.parametrize("kind", ["at+jwt", "application/logout+jwt", "x"])
def test_token_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(TokenError, match="typ is wrong"):
        check_kind(verified_claims(token(RSA, alg="RS256", typ=kind), public(RSA), OFFERED))


def test_key_set_skips_keys_that_cannot_verify() -> None:
    good = RSA.as_dict(private=False)
    weak = {**good, "n": base64.urlsafe_b64encode(b"\x80" + b"\x01" * 127).decode()}
    members: list[Any] = [
        *(None, 1, {}, {"kty": "new"}, {"kty": "RSA"}, {"kty": []}, weak),
        {**good, "use": "enc"},
        {**good, "n": 1},
        {**good, "n": "é"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        OctKey.generate_key(256).as_dict(),
    ]

    assert import_keys({"keys": members}) == []
    assert [key.kid for key in import_keys({"keys": [*members, good]})] == ["k1"]
    for document in ({}, {"keys": None}, {"keys": "k1"}):
        assert import_keys(document) == []


def test_key_set_has_a_limit() -> None:
    skipped = [{"kty": "new"}] * KEYS_MAX

    assert import_keys({"keys": [*skipped, RSA.as_dict(private=False)]}) == []


def test_curve_of_another_algorithm_is_refused() -> None:
    key = ECKey.generate_key("P-384")
    _, payload, signature = token(key, alg="ES384").split(".")

    with pytest.raises(TokenError, match="signature"):
        verified_claims(f"{part({'alg': 'ES256'})}.{payload}.{signature}", public(key), OFFERED)


def test_key_with_a_weak_modulus_is_skipped() -> None:
    assert isinstance(RSA, RSAKey)
    padded = {**RSA.as_dict(private=False), "n": base64.urlsafe_b64encode(b"\0" * 300).decode()}

    assert import_keys({"keys": [padded]}) == []
