"""Verify the signatures of tokens with the provider's keys.

Only asymmetric algorithms are accepted. So neither `none`, nor an HMAC with the public key as its
secret, can pass (RFC 8725, sections 2.1 and 3.1).
"""

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from app.errors import ForeseenError

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_KEY_TYPES = {
    **dict.fromkeys(_RSA, "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    **dict.fromkeys(("EdDSA", "Ed25519"), "OKP"),
}
ALGORITHMS = frozenset(_KEY_TYPES)
_TYPES: Mapping[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
# Shorter ones can be factored, longer ones take milliseconds.
_RSA_BITS = range(2_048, 8_193)
KEYS_MAX = 100
_HEADER_BYTES_MAX = 16 * 1024
_PAYLOAD_BYTES_MAX = 256 * 1024


class TokenError(ForeseenError):
    """A token fails a check. The text completes "refused: …", and holds nothing of the token."""


class KeyUnknownError(TokenError):
    """The provider may have a new key."""


class KeyChangedError(TokenError):
    """The known keys prove no signature. One may have changed without a new ID."""


class _Registry(JWSRegistry):
    """The algorithms and limits of this service."""

    max_header_length = _HEADER_BYTES_MAX
    max_payload_length = _PAYLOAD_BYTES_MAX

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return an allowed algorithm. joserfc would warn at each token with the name EdDSA."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


class VerifiedToken(NamedTuple):
    """What a signed token holds. `kind` is the header `typ` in lower case, empty without one."""

    algorithm: str
    kind: str
    claims: dict[str, Any]


def import_keys(document: Mapping[str, Any]) -> Sequence[Key]:
    """Return the keys of a JWK set that verify signatures. Skip all others.

    A set may have keys of unknown types (RFC 7517, section 5).
    """
    found = document.get("keys")
    members = found[:KEYS_MAX] if isinstance(found, list) else []
    return [key for member in members if (key := _import_key(member)) is not None]


def verified_claims(text: str, keys: Iterable[Key], offered: Collection[str]) -> VerifiedToken:
    """Return the content of a signed token.

    `offered` are the algorithms of the discovery document. Raises TokenError: KeyUnknownError for a
    token that names an unknown key, KeyChangedError for one that no known key proves.
    """
    if text.count(".") != 2:
        raise TokenError("the token is not signed, or is encrypted")
    registry = _Registry(
        algorithms=sorted(ALGORITHMS.intersection(offered)), strict_check_header=False
    )
    try:
        header = jws.extract_compact(text.encode(), registry=registry).headers()
        algorithm = header.get("alg")
        if algorithm not in (registry.allowed or ()):
            raise TokenError("the token has a signature algorithm that is not allowed")
        key = _key_for(header, str(algorithm), keys)
        payload = jws.deserialize_compact(text, key, registry=registry).payload
    except BadSignatureError:
        raise KeyChangedError("the signature of the token is wrong") from None
    # ValueError: bytes that are no UTF-8. TypeError: a header field of another type.
    except (JoseError, ValueError, TypeError, RecursionError):
        raise TokenError("the signature of the token is wrong") from None
    try:
        claims = msgspec.json.decode(payload)
    # ValueError: bytes that are no UTF-8.
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise TokenError("the content of the token cannot be read") from None
    if not isinstance(claims, dict):
        raise TokenError("the token has no claims")
    kind = str(header.get("typ") or "").lower().removeprefix("application/")
    return VerifiedToken(str(algorithm), kind, claims)


def check_kind(token: VerifiedToken, *expected: str) -> None:
    """Refuse a token of another kind (RFC 8725, section 3.11). Raises TokenError.

    Many providers write no `typ`.
    """
    if token.kind not in {"", "jwt", *expected}:
        raise TokenError("the token is of another kind: its typ is wrong")


def _key_for(header: Mapping[str, Any], algorithm: str, keys: Iterable[Key]) -> Key:
    suitable = [key for key in keys if key.key_type == _KEY_TYPES[algorithm]]
    if (name := header.get("kid")) is not None:
        suitable = [key for key in suitable if key.kid == name]
    if len(suitable) == 1:
        return suitable[0]
    if suitable:
        raise KeyChangedError("the token does not say which key signed it")
    raise KeyUnknownError("the token is signed with a key that the provider does not publish")


def _import_key(member: Any) -> Key | None:
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    type_ = _TYPES.get(str(member.get("kty")))
    if type_ is None or (type_ is RSAKey and not _has_good_length(member.get("n"))):
        return None
    try:
        return type_.import_key(member)
    except (JoseError, ValueError, TypeError):
        return None


def _has_good_length(modulus: Any) -> bool:
    try:
        raw = base64.urlsafe_b64decode(str(modulus) + "==")
    except (binascii.Error, ValueError):
        return False
    return int.from_bytes(raw, "big").bit_length() in _RSA_BITS
