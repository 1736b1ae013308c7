"""The discovery document of the provider (OpenID Connect Discovery 1.0)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.access.oidc.client import ProviderFault
from app.settings.parsers import DISCOVERY_PATH, is_loopback

_REQUIRED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
_ENDPOINTS = (*_REQUIRED[1:], "userinfo_endpoint", "end_session_endpoint")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What this service uses of the document. The defaults are those of the specification."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    response_types_supported: tuple[str, ...] = ("code",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    # RFC 9207: whether the callback always names the issuer.
    authorization_response_iss_parameter_supported: bool = False


def address_of(issuer: str) -> str:
    """Return the address of the discovery document."""
    return issuer.rstrip("/") + DISCOVERY_PATH


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Return the checked metadata. Raises ProviderFault."""
    for name in _REQUIRED:
        if name not in document:
            raise _unusable(f"lacks {name}")
    try:
        metadata = msgspec.convert(document, Metadata)
    except msgspec.ValidationError as error:
        path = str(error).rpartition(" - at ")[2].strip("`").removeprefix("$.")
        raise _unusable(f"has a field of the wrong type, {path}") from None
    if "{" in metadata.issuer:
        # As at the address "common" of Microsoft Entra ID.
        raise _unusable("is for all tenants. Name a single tenant in OIDC_ISSUER")
    if metadata.issuer != issuer:
        is_slash = metadata.issuer.rstrip("/") == issuer.rstrip("/")
        advice = "Only the slash at the end differs" if is_slash else "Copy it from the document"
        raise _unusable(f"has another issuer than OIDC_ISSUER. {advice}")
    for name in _ENDPOINTS:
        address = getattr(metadata, name)
        if address is not None and not _is_safe(address, issuer):
            raise _unusable(f"has no https address in {name}")
    if "code" not in metadata.response_types_supported:
        raise _unusable("does not offer the response type code, the authorization code flow")
    return metadata


def _is_safe(address: str, issuer: str) -> bool:
    """Return whether the address is https. A provider on this machine may use http."""
    try:
        parts, of_issuer = urlsplit(address), urlsplit(issuer)
        host = parts.hostname or ""
        is_whole = bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    if not is_whole or parts.username is not None or parts.fragment or not address.isprintable():
        return False
    is_local = of_issuer.scheme == "http" and is_loopback(host)
    return parts.scheme == "https" or (parts.scheme == "http" and is_local)


def _unusable(problem: str) -> ProviderFault:
    return ProviderFault(f"The provider's discovery document {problem}.")
