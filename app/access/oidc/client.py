"""HTTP calls to the provider. Every wait and every answer has a limit.

No redirect is followed: the addresses of the discovery document are final, and a redirect could
lead to a service of the internal network.
"""

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp import hdrs

from app import VERSION
from app.errors import ForeseenError

ANSWER_SECONDS = 5.0
ANSWER_BYTES_MAX = 256 * 1024
_CONNECTIONS_MAX = 16
# The token endpoint explains a refusal in the body of these (RFC 6749, section 5.2).
_EXPLAINED = frozenset({400, 401})


class ProviderFault(ForeseenError):
    """The provider is away, or its answer is unusable.

    The text is a sentence for people. It holds no address and no text of the provider.
    """


class ProviderClient:
    """Calls one provider. Every failure is a ProviderFault."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self, url: str, source: str, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object at the address. `source` names it in errors."""
        status, content = await self._call("GET", url, source, headers or {}, None)
        if status != 200:
            raise ProviderFault(f"The provider's {source} answers with status {status}.")
        return content

    async def post(
        self, url: str, source: str, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Send a form. Return the status 200, 400 or 401, and the JSON object of the answer."""
        return await self._call("POST", url, source, headers, form)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _call(
        self,
        method: str,
        url: str,
        source: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> tuple[int, dict[str, Any]]:
        sent = {hdrs.ACCEPT: "application/json", **headers}
        try:
            async with self._opened().request(
                method, url, headers=sent, data=form, allow_redirects=False
            ) as answer:
                if 300 <= answer.status < 400:
                    raise ProviderFault(
                        f"The provider's {source} answers with a redirect, which is not followed."
                    )
                if answer.status != 200 and not (form and answer.status in _EXPLAINED):
                    raise ProviderFault(
                        f"The provider's {source} answers with status {answer.status}."
                    )
                return answer.status, await _read_object(answer, source)
        # ValueError: an address or a token that cannot be sent.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ProviderFault(f"The provider's {source} {_words(error)}.") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: f"flagstone/{VERSION}"},
                # Of a whole call, so that a slow body ends too.
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            )
        return self._session


async def _read_object(answer: aiohttp.ClientResponse, source: str) -> dict[str, Any]:
    """Return the body, which must be a JSON object of at most 256 KiB."""
    # An error page of a proxy is HTML.
    if answer.content_type != "application/json" and not answer.content_type.endswith("+json"):
        raise ProviderFault(f"The provider's {source} does not answer with JSON.")
    raw = bytearray()
    async for chunk in answer.content.iter_any():
        raw += chunk
        if len(raw) > ANSWER_BYTES_MAX:
            limit = ANSWER_BYTES_MAX // 1024
            raise ProviderFault(f"The provider's {source} answers with more than {limit} KiB.")
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ProviderFault(f"The provider's {source} does not answer with a JSON object.")
    return content


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"did not answer within {ANSWER_SECONDS:g} seconds"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "has a TLS certificate that this host does not trust"
    if isinstance(error, aiohttp.ClientSSLError):
        return "cannot be reached over TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "cannot be reached"
    if isinstance(error, ValueError):
        return "has an unusable address, or gave a token that cannot be sent"
    return "did not send a whole answer"
