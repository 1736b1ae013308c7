"""A small OpenID Connect provider for tests, whose answers a test can change or replace."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import unquote_plus, urlencode

import msgspec
from aiohttp import web
from joserfc import jws
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "flagstone", "a secret: with + and %"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_NOT_REGISTERED = ["none", "HS256", "RS256", "ES256", "PS256", "EdDSA"]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@cache
def rsa_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, private=True)


class OidcProvider:
    """Signs in the same person at each request, without a question.

    `claims` are those of the person. `answers` replaces the handler of a path. `id_token_changes`
    changes the claims of the next ID tokens, and None removes one.
    """

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {
            "sub": "u-1",
            "name": "Asha Otieno",
            "email": "asha@example.org",
            "groups": ["platform"],
        }
        self.client_secret: str | None = CLIENT_SECRET
        self.answers: dict[str, Answer] = {}
        self.metadata_changes: dict[str, Any] = {}
        self.id_token_changes: dict[str, Any] = {}
        self.callback_changes: dict[str, str | None] = {}
        self.gives_refresh_token = True
        self.sends_id_token_at_refresh = True
        # Claims that only the userinfo endpoint has.
        self.userinfo_only: frozenset[str] = frozenset()
        self.key = rsa_key("k1")
        self.published: list[RSAKey] = [self.key]
        # Replaces the signer of tokens: claims to text.
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.sid = "provider-session-1"
        self.calls: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        # The valid refresh token of each sign-in, with its nonce.
        self.refresh_tokens: dict[str, str] = {}

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator["OidcProvider"]:
        app = web.Application()
        for path, handler in (
            ("/.well-known/openid-configuration", self._discovery),
            ("/keys", self._key_set),
            ("/authorize", self._authorize),
            ("/token", self.answer_token),
            ("/userinfo", self._userinfo),
            ("/logout", self._logout),
        ):
            app.router.add_route("*", path, self._answering(path, handler))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """Return the claims as a token, by default with RS256 and the current key."""
        whole = {"alg": "RS256", "kid": self.key.kid, **header}
        return jws.serialize_compact(
            {name: value for name, value in whole.items() if value is not None},
            msgspec.json.encode(claims),
            self.key,
            algorithms=_NOT_REGISTERED,
        )

    def rotate(self, kid: str, *, publishes_old: bool = False) -> None:
        """Sign with another key from now on."""
        old = [self.key] if publishes_old else []
        self.key = rsa_key(kid)
        self.published = [*old, self.key]

    def logout_token(self, **changes: Any) -> str:
        """Return a logout token; see OpenID Connect Back-Channel Logout 1.0, section 2.4."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": self.claims["sub"],
            "sid": self.sid,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {LOGOUT_EVENT: {}},
            **changes,
        }
        return self.sign({name: value for name, value in claims.items() if value is not None})

    def _answering(self, path: str, handler: Answer) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.calls.append(path)
            return await self.answers.get(path, handler)(request)

        return answer

    async def _discovery(self, _: web.Request) -> web.StreamResponse:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata_changes,
        }
        return web.json_response({name: value for name, value in document.items() if value})

    async def _key_set(self, _: web.Request) -> web.StreamResponse:
        keys = [key.as_dict(private=False) for key in self.published]
        # A set may have keys of types that a client does not know.
        return web.json_response({"keys": [{"kty": "new", "kid": "x"}, *keys]})

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(query)
        answer = {
            "code": code,
            "state": query["state"],
            "iss": self.issuer,
            **self.callback_changes,
        }
        given = {name: value for name, value in answer.items() if value is not None}
        location = f"{query['redirect_uri']}?{urlencode(given)}"
        return web.Response(status=303, headers={"Location": location})

    async def answer_token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if not self._is_client(request, dict(form)):
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] == "refresh_token":
            nonce = self.refresh_tokens.pop(str(form["refresh_token"]), None)
            if nonce is None:
                return web.json_response({"error": "invalid_grant"}, status=400)
            return self._tokens(nonce, with_id_token=self.sends_id_token_at_refresh)
        begun = self._codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            begun is None
            or begun["code_challenge"] != challenge
            or begun["redirect_uri"] != form["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._tokens(begun["nonce"], with_id_token=True)

    def _tokens(self, nonce: str, *, with_id_token: bool) -> web.Response:
        now = int(time.time())
        access_token = secrets.token_urlsafe(16)
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "sid": self.sid,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            **{name: v for name, v in self.claims.items() if name not in self.userinfo_only},
            **self.id_token_changes,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        answer: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer"}
        if with_id_token:
            answer["id_token"] = self.sign(given)
        if self.gives_refresh_token:
            answer["refresh_token"] = secrets.token_urlsafe(16)
            self.refresh_tokens[answer["refresh_token"]] = nonce
        return web.json_response(answer)

    def _is_client(self, request: web.Request, form: dict[str, Any]) -> bool:
        header = request.headers.get("Authorization")
        if header is not None:
            login, _, password = base64.b64decode(header.removeprefix("Basic ")).partition(b":")
            given: tuple[Any, Any] = (
                unquote_plus(login.decode()),
                unquote_plus(password.decode()),
            )
        else:
            given = (form.get("client_id"), form.get("client_secret"))
        return given == (CLIENT_ID, self.client_secret)

    async def _userinfo(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.claims)

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        location = f"{query['post_logout_redirect_uri']}?{urlencode({'state': query['state']})}"
        return web.Response(status=303, headers={"Location": location})
