"""The wrapper of each page: its headers, the sign-in of strangers, and errors as pages."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.people.models import SUSPENDED
from app.console.forms import message_of
from app.console.rendering import frame, page
from app.console.saving import SavedAsProposalError
from app.console.templating import COMPILER
from app.database.client.pool import REPEAT_ADVICE
from app.errors import AppError, Forbidden, Unauthenticated, Unavailable, Violation
from app.http import problems
from app.http.frame import route_of
from app.http.keys import DEADLINE, OWN_HEADERS, REQUEST_ID, Handler
from app.log import logger

log = logger(__name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
}
# The API has the phrases of HTTP, such as "Unprocessable Content".
_TITLES = {
    403: "You may not do this",
    404: "Not found",
    409: "This does not fit what is stored now",
    422: "This is not valid",
    429: "Too many attempts",
    503: "Not available now",
}
# htmx shows an error in this element of the layout, so that the page keeps what was typed.
_NOTICES = {"HX-Retarget": "#notices", "HX-Reswap": "innerHTML"}


def with_pages(handler: Handler) -> Handler:
    """Wrap a page: set its headers, and turn each error into a page or a fragment."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[OWN_HEADERS] = dict(_HEADERS)
        await request.app[COMPILER].ready()
        try:
            return await handler(request)
        except Unauthenticated as error:
            return _sign_in(request, error)
        except SavedAsProposalError as error:
            address = frame(request).url_of("proposals", str(error.proposal), new="")
            return redirect_to(request, address)
        except AppError as error:
            return error_page(request, error)
        except TimeoutError:
            if DEADLINE in request and request[DEADLINE].expired():
                late = Unavailable("request_timeout", "The request did not finish in time.")
                return error_page(request, late)
            raise
        except (web.HTTPException, ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("page_failed", route=route_of(request))
            return _error(request, 500, "This page failed", "The log has details.", [])

    return handle


def _has_no_rights(request: web.Request) -> bool:
    """Return whether a person has signed in who may not do anything yet."""
    caller = request.get(CALLER)
    if caller is None or caller.session is None or caller.session.person_id is None:
        return False
    return not caller.rights.has(Scope.READ)


def is_fragment(request: web.Request) -> bool:
    """Return whether htmx asks for a part of a page."""
    return "HX-Request" in request.headers and "HX-Boosted" not in request.headers


def error_page(request: web.Request, error: AppError) -> web.Response:
    """Return an error as a page, or for htmx as a notice above the unchanged page."""
    status = problems.STATUS[type(error)]
    if isinstance(error, Forbidden) and _has_no_rights(request) and not is_fragment(request):
        return page(request, "access/no_grants.html", status=status)
    violations = [v for v in error.violations if str(v) != error.message]
    text = message_of(error) + _result(request, error)
    title = _TITLES.get(status, problems.title(status))
    response = _error(request, status, title, text, violations)
    response.headers.update(problems.headers_of(error))
    return response


def redirect(location: str) -> web.Response:
    """Return 303 to an own address: after a form was saved, the browser reads the page again."""
    return web.Response(status=303, headers={"Location": location})


def redirect_to(request: web.Request, location: str) -> web.Response:
    """Return a redirect that htmx follows too, as a visit of the whole page."""
    if is_fragment(request):
        return web.Response(headers={"HX-Redirect": location})
    return redirect(location)


def _result(request: web.Request, error: AppError) -> str:
    """Return what became of a form or a dialog in an outage, and what to do."""
    if not isinstance(error, Unavailable):
        return ""
    if request.method != "POST":
        return _unopened(request)
    if REPEAT_ADVICE in error.message:
        return ""
    if error.code == "request_timeout":
        return " The write may have succeeded. Open the page again before you repeat it."
    if is_fragment(request):
        return " Not saved. Your input is still here; try again."
    return " Not saved. Go back to your input, and try again."


def _unopened(request: web.Request) -> str:
    """Return what became of a dialog that could not be opened."""
    if not is_fragment(request) or "X-Background" in request.headers:
        return ""
    is_switch = "/flag-switch/" in request.path
    return f" Nothing was {'switched' if is_switch else 'changed'}. Try again."


def _error(
    request: web.Request,
    status: int,
    title: str,
    text: str,
    violations: Sequence[Violation],
    sign_in: str | None = None,
) -> web.Response:
    fragment = is_fragment(request)
    return page(
        request,
        "error_notice.html" if fragment else "error.html",
        status=status,
        headers=_NOTICES if fragment else {},
        title=title,
        text=text,
        violations=violations,
        sign_in=sign_in,
        may_retry=status == 503 and request.method == "GET",
        request_id=request[REQUEST_ID],
    )


def _sign_in(request: web.Request, error: Unauthenticated) -> web.Response:
    """Lead to the sign-in, and back afterwards. htmx keeps the page, so that no draft is lost."""
    around = frame(request)
    if is_fragment(request) or request.method != "GET":
        text = "Your session has ended. Sign in again in a new tab, then repeat this."
        if error.code == SUSPENDED:
            text = error.message
        link = around.url_of("sign-in")
        return _error(request, 401, "Signed out", text, [], sign_in=link)
    return redirect(around.url_of("sign-in", next=around.here()))
