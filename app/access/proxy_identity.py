"""The person whom an identity-aware proxy names in a header: TRUSTED_USER_HEADER.

The headers count only on a connection from an address of TRUSTED_PROXIES. X-Forwarded-For does not
matter: a client may have written it. Only the console reads them; the API knows tokens alone.
"""

import re
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from app.access.caller import Caller
from app.access.events import AccessEvent
from app.access.format import secret_id
from app.access.guard import ACCESS_LOG, TOKENS, log_refusal, origin
from app.access.models import ConsoleSession
from app.access.people.models import GROUPS_MAX, IDENTIFIER_MAX, PROXY_ISSUER
from app.access.people.sign_in import PersonIdentity, renew_claims
from app.access.sessions import service as sessions
from app.access.sessions.cookie import read_cookie
from app.access.sessions.directory import refused
from app.errors import Forbidden, Malformed, Unavailable
from app.http.client_address import is_within
from app.http.keys import DATABASE, SETTINGS

# What Apache and Caddy send for a variable without a value. Everyone would be the same person.
_EMPTY_VARIABLE = re.compile(r"\(null\)|\{[^{}]*\}")
# Only what HTTP allows around a value: other spaces are a part of the name, and cannot be printed.
_AROUND = " \t"
# The reasons of refusals, for the access log.
_NAMED_ELSEWHERE = "the proxy names another person"
NOT_NAMED = "the proxy names no person"
_ENDINGS = frozenset({_NAMED_ELSEWHERE, NOT_NAMED})


def read_identity(request: web.Request) -> PersonIdentity | None:
    """Return the person of the headers, None without them and without the setting.

    Raises Forbidden for headers from another address, and Malformed for unusable ones.
    """
    settings = request.app[SETTINGS]
    if settings.trusted_headers.user is None:
        return None
    users = _values(request, settings.trusted_headers.user)
    groups = _values(request, settings.trusted_headers.groups)
    if not users and not groups:
        return None
    if not is_within(request.remote or "", settings.http.trusted_proxies):
        raise Forbidden(
            "proxy_untrusted",
            "Only a proxy of TRUSTED_PROXIES may name a person. This request came from elsewhere.",
        )
    try:
        return _identity(users, groups)
    except ValueError as error:
        log_refusal(request, AccessEvent.LOGIN_FAIL, f"proxy header {error}")
        raise Malformed(
            "proxy_header_unusable",
            f"The proxy's header for the person or the groups {error}. Correct it at the proxy.",
        ) from None


def check_session(request: web.Request, session: ConsoleSession) -> None:
    """Check that the proxy names the person of the session now, if it named them at the sign-in.

    Raises Unauthenticated, and as `read_identity`.
    """
    subject = _subject(request, session)
    if subject is None:
        return
    identity = read_identity(request)
    if identity is None:
        raise refused(NOT_NAMED)
    if identity.subject != subject:
        raise refused(_NAMED_ELSEWHERE)


async def end_session(request: web.Request, reason: str | None) -> None:
    """End the session that `check_session` refuses for this reason, so that no header revives it.

    Without the database it stays refused, as long as the header is missing.
    """
    session_id = secret_id(read_cookie(request))
    if reason not in _ENDINGS or session_id is None:
        return
    log, origin_ = request.app[ACCESS_LOG], origin(request)
    with suppress(Unavailable):
        await request.app[DATABASE].transact(
            lambda c: sessions.end_by_provider(c, log, [session_id], detail=reason, origin=origin_)
        )
        await request.app[TOKENS].refresh()


async def follow_groups(request: web.Request, caller: Caller) -> bool:
    """Store the groups of the headers if they give other rights. Return whether they do.

    Raises Forbidden for a suspended person, and Unavailable without the database.
    """
    directory, session = request.app[TOKENS], caller.session
    if session is None or session.person_id is None or _subject(request, session) is None:
        return False
    identity = read_identity(request)
    if identity is None:
        return False
    if directory.people.has_groups(session.person_id, identity.groups):
        return False
    log, origin_ = request.app[ACCESS_LOG], origin(request)
    await request.app[DATABASE].transact(
        lambda c: renew_claims(c, log, directory.key, identity, origin=origin_)
    )
    await directory.refresh()
    return True


def _subject(request: web.Request, session: ConsoleSession) -> str | None:
    if session.person_id is None:
        return None
    return request.app[TOKENS].people.proxy_subject(session.person_id)


def _values(request: web.Request, header: str | None) -> list[str]:
    return request.headers.getall(header, []) if header is not None else []


def _identity(users: Sequence[str], groups: Sequence[str]) -> PersonIdentity:
    """Return the person. Raises ValueError with the end of a sentence."""
    if not users:
        raise ValueError("names groups of no person")
    # A proxy that adds to the header of a client, instead of replacing it, sends both.
    if len(users) > 1 or len(groups) > 1 or "," in users[0]:
        raise ValueError("has two values")
    names = {_text(group) for group in ",".join(groups).split(",") if group.strip(_AROUND)}
    if len(names) > GROUPS_MAX:
        raise ValueError(f"names more than {GROUPS_MAX} groups")
    subject = _text(users[0])
    return PersonIdentity(
        issuer=PROXY_ISSUER, subject=subject, name=subject, groups=frozenset(names)
    )


def _text(value: str) -> str:
    text = value.strip(_AROUND)
    if not text:
        raise ValueError("is empty")
    if _EMPTY_VARIABLE.fullmatch(text):
        raise ValueError("has the name of an empty variable")
    if len(text) > IDENTIFIER_MAX:
        raise ValueError(f"has a name of more than {IDENTIFIER_MAX} characters")
    # Bytes that are no UTF-8 are surrogates here.
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text
