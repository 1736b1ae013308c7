"""Signing in as the person whom an identity-aware proxy names.

The proxy names them in each request, but a session begins only by the button. So no page of another
site can begin one.
"""

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import ACCESS_LOG, TOKENS, log_refusal, origin
from app.access.people.sign_in import PersonIdentity, sign_in
from app.access.proxy_identity import NOT_NAMED, read_identity
from app.access.sessions.cookie import check_transport, safe_next, set_cookie
from app.console.forms import message_of, read_form
from app.console.pages import redirect
from app.console.rendering import frame
from app.console.sign_in import begin_session, replaced_session, sign_in_form
from app.database import Connection
from app.errors import AppError, Forbidden
from app.http.keys import DATABASE

_FORM_BYTES_MAX = 16 * 1024


async def post_proxy_sign_in(request: web.Request) -> web.Response:
    """Begin the session of the person, and lead to the page of `next`."""
    form = await read_form(request, _FORM_BYTES_MAX)
    next_ = safe_next(form.get("next", ""), frame(request).root)
    try:
        check_transport(request)
        identity = read_identity(request)
        if identity is None:
            log_refusal(request, AccessEvent.LOGIN_FAIL, NOT_NAMED)
            raise Forbidden(
                "proxy_silent", "The proxy names no person. Sign in at the proxy, then try again."
            )
        text = await _begin(request, identity)
    except AppError as error:
        return sign_in_form(request, next_=next_, error=error, message=message_of(error))
    response = redirect(next_)
    set_cookie(request, response, text)
    return response


async def _begin(request: web.Request, identity: PersonIdentity) -> str:
    """Store the person and a new session, and return the text of its cookie."""
    directory, log, origin_ = request.app[TOKENS], request.app[ACCESS_LOG], origin(request)
    replaces = replaced_session(request)

    async def work(connection: Connection) -> str:
        person = await sign_in(connection, log, directory.key, identity, origin=origin_)
        new = await begin_session(request, connection, person.principal, replaces=replaces)
        return new.text

    text = await request.app[DATABASE].transact(work)
    await directory.refresh_if_possible()
    return text
