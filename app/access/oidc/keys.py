"""The key of the sign-in on the application, which is absent without OIDC_ISSUER.

The module imports no library for signatures, which few services need.
"""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from app.access.oidc.flow import OidcSignIn

# The parameter `state` of the page after the sign-out at the provider. Nothing depends on it.
SIGNED_OUT_THERE = "provider"
OIDC: "web.AppKey[OidcSignIn]" = web.AppKey("oidc")
