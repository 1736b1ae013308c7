"""Tickets: credentials in the URL of an event stream, because EventSource cannot send headers.

A ticket opens one stream. It names its token, and expires with it. The ticket of a token and an
environment is always the same; otherwise no bulk answer could be 304. Only route patterns are
logged, not URLs.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode

from aiohttp import web

from app.access.caller import Caller
from app.access.credentials import Credentials
from app.access.models import Scope
from app.crypto.derivation import Purpose, derive
from app.errors import Unauthenticated
from app.http.service_address import request_address
from app.settings import Secret

STREAM_PATH = "/ofrep/v1/streams/"
_MAC_BYTES = 24


class Tickets:
    """Makes and checks tickets with a key derived from that of the tokens."""

    def __init__(self, directory: Credentials, key: Secret, public_url: str | None) -> None:
        self._directory = directory
        self._public_url = public_url
        self._key = derive(key, Purpose.STREAM_TICKETS)
        self._tickets: dict[tuple[str | None, str], str] = {}

    def url(self, request: web.Request, caller: Caller, environment: str) -> str:
        """Return the absolute URL of the environment's stream, for this caller.

        Raises Malformed when PUBLIC_URL is not set and the Host header is not ASCII.
        """
        base = self._public_url or request_address(request)
        return f"{base}{STREAM_PATH}{self._ticket(caller.token_id, environment)}"

    def open(self, ticket: str) -> tuple[str, str]:
        """Return the environment and the ID of the token of a ticket. Raises Unauthenticated."""
        try:
            # Strict, so that a ticket has one spelling.
            raw = b64decode(ticket.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            raise _refused("malformed") from None
        mac, name = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name)):
            raise _refused("wrong")
        token_id, _, environment = name.decode().partition("/")
        self.holder(token_id, environment)
        return environment, token_id

    def holder(self, token_id: str, environment: str) -> Caller:
        """Return the caller of a ticket if it may evaluate. Raises Unauthenticated, Unavailable."""
        caller = self._directory.caller_of(token_id)
        if caller is None:
            raise _refused("of a token that is gone")
        if not caller.rights.covers(Scope.EVALUATE, environment):
            raise _refused("of a token that may not")
        return caller

    def _ticket(self, token_id: str | None, environment: str) -> str:
        ticket = self._tickets.get((token_id, environment))
        if ticket is None:
            name = f"{token_id}/{environment}".encode()
            ticket = urlsafe_b64encode(self._mac(name) + name).decode()
            self._tickets[token_id, environment] = ticket
        return ticket

    def _mac(self, name: bytes) -> bytes:
        return hmac.digest(self._key, name, "sha256")[:_MAC_BYTES]


TICKETS: web.AppKey[Tickets] = web.AppKey("tickets", Tickets)


def _refused(reason: str) -> Unauthenticated:
    message = "The ticket is not valid. Evaluate again to get a new stream URL."
    return Unauthenticated("ticket_refused", message, reason=f"ticket {reason}")
