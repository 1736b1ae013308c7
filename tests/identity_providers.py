"""OpenID Connect providers of two makes, each as a process of its own, and trust in a proxy.

The providers listen on `localhost`, and the service of a test on 127.0.0.1: for a browser, these
are two sites. `make providers` installs the provider of Node.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from playwright.async_api import Page

from app.http.keys import SETTINGS
from app.settings import Network, TrustedHeaderSettings
from tests.conftest import Service
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS, until

_FOLDER = ROOT / "tests/providers"
# The oldest one that has all that the provider uses.
_NODE_VERSION = (20, 12)
CLIENT_ID, CLIENT_SECRET = "flagstone", "a secret of the client, in clear"

Claims = Mapping[str, Any]


class IdentityProvider:
    """A provider that can be stopped, and started again at the same address.

    `accounts` are the claims by login name, which is the subject too.
    """

    scopes: str
    # The origins of its pages, as a pattern.
    origins: str

    def __init__(self, port: int, accounts: Mapping[str, Claims]) -> None:
        self.port = port
        self.origins = f"{self.issuer}/"
        self.accounts = dict(accounts)
        self._child: asyncio.subprocess.Process | None = None

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of a service that uses this provider."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_SCOPES": self.scopes,
        }

    async def start(self, service_url: str) -> None:
        """Start, and accept the sign-in of the service at this URL."""
        environ = {"PATH": os.environ["PATH"]}
        self._child = await asyncio.create_subprocess_exec(
            *self._command(service_url), env=environ, stdout=asyncio.subprocess.DEVNULL
        )

        async def is_up() -> bool:
            url = f"{self.issuer}/.well-known/openid-configuration"
            async with ClientSession() as client, client.get(url) as answer:
                return answer.status == 200

        await until(is_up, self._still_there)

    async def stop(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await asyncio.wait_for(self._child.wait(), HANG_SECONDS)
            self._child = None

    async def set_claims(self, account: str, claims: Claims) -> None:
        """Give an account other claims, which its next ID token has."""
        raise NotImplementedError

    async def sign_in(self, page: Page, account: str) -> None:
        """Fill the form of the open page of the provider."""
        raise NotImplementedError

    async def sign_out(self, page: Page) -> None:
        """Confirm the sign-out on the open page of the provider."""
        raise NotImplementedError

    def _command(self, service_url: str) -> tuple[str, ...]:
        raise NotImplementedError

    def _still_there(self) -> None:
        assert self._child is not None
        assert self._child.returncode is None, "the provider has ended"

    async def _send(self, method: str, path: str, body: Any) -> None:
        async with (
            ClientSession() as client,
            client.request(method, self.issuer + path, json=body) as answer,
        ):
            assert answer.status == 204, await answer.text()


class NodeProvider(IdentityProvider):
    """npm's oidc-provider, which is certified."""

    scopes = "openid profile email groups"

    async def set_claims(self, account: str, claims: Claims) -> None:
        self.accounts[account] = claims
        await self._send("POST", "/control", {"account": account, "claims": claims})

    async def rotate_keys(self) -> None:
        """Sign with a new key from now on, and no longer publish the old one."""
        await self._send("POST", "/control", {"rotate": True})

    async def forget(self) -> None:
        """End all sessions and refresh tokens, without telling the service."""
        await self._send("POST", "/control", {"ended": True})

    async def sign_in(self, page: Page, account: str) -> None:
        await page.get_by_label("Login").fill(account)
        await page.get_by_role("button", name="Continue").click()

    async def sign_out(self, page: Page) -> None:
        await page.get_by_role("button", name="Sign out at the provider").click()

    def _command(self, service_url: str) -> tuple[str, ...]:
        client = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [f"{service_url}/console/sign-in/oidc/callback"],
            "post_logout_redirect_uris": [f"{service_url}/console/signed-out"],
            "backchannel_logout_uri": f"{service_url}/console/oidc/back-channel-logout",
            "backchannel_logout_session_required": True,
        }
        settings = {"port": self.port, "client": client, "accounts": self.accounts}
        return ("node", str(_FOLDER / "oidc_provider.mjs"), json.dumps(settings))


class MockProvider(IdentityProvider):
    """PyPI's oidc-provider-mock, which uses Authlib. It accepts every client."""

    scopes = "openid profile email"

    def __init__(self, port: int, accounts: Mapping[str, Claims]) -> None:
        super().__init__(port, accounts)
        # Its pages have a style sheet of another host, which a test need not reach.
        self.origins = f"({self.origins}|https://)"

    async def set_claims(self, account: str, claims: Claims) -> None:
        self.accounts[account] = claims
        await self._send("PUT", f"/users/{account}", claims)

    async def sign_in(self, page: Page, account: str) -> None:
        await page.get_by_role("button", name=account).click()

    async def sign_out(self, page: Page) -> None:
        await page.get_by_role("button", name="End session").click()

    def _command(self, service_url: str) -> tuple[str, ...]:
        del service_url
        users = [json.dumps({"sub": name, **claims}) for name, claims in self.accounts.items()]
        options = [option for user in users for option in ("--user-claims", user)]
        module = ("-m", "oidc_provider_mock", "--host", "localhost", "--port", str(self.port))
        return (sys.executable, *module, *options)


@asynccontextmanager
async def started(provider: IdentityProvider, service_url: str) -> AsyncIterator[None]:
    await provider.start(service_url)
    try:
        yield
    finally:
        await provider.stop()


@contextmanager
def trusting(service: Service, *proxies: Network) -> Iterator[None]:
    """Let these proxies name people in headers."""
    before = service.app[SETTINGS]
    headers = TrustedHeaderSettings(user="X-Forwarded-User", groups="X-Forwarded-Groups")
    http = replace(before.http, trusted_proxies=proxies)
    with service.using(SETTINGS, replace(before, http=http, trusted_headers=headers)):
        yield


async def require_node() -> None:
    """Skip the test without the provider of Node. FLAGSTONE_PROVIDERS=required makes it fail."""
    reason = await _missing()
    if reason and os.environ.get("FLAGSTONE_PROVIDERS") == "required":
        pytest.fail(f"{reason}, and FLAGSTONE_PROVIDERS=required")
    if reason:
        pytest.skip(reason)


async def _missing() -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (_FOLDER / "node_modules").is_dir():
        return "the identity provider is installed by make providers"
    node = await asyncio.create_subprocess_exec("node", "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(node.communicate(), HANG_SECONDS)
    major, minor, _ = output.decode().strip().removeprefix("v").split(".")
    if (int(major), int(minor)) < _NODE_VERSION:
        return f"node {major}.{minor} is older than {'.'.join(map(str, _NODE_VERSION))}"
    return ""
