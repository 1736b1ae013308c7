"""The pages of sessions, and the page of the access log."""

from dataclasses import replace

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin
from app.access.log_handlers import check_environment, read_page
from app.access.models import Scope
from app.access.people.access_writes import edit_of
from app.access.sessions import service
from app.console.access.views import EVENT_TEXTS, access_row, session_row
from app.console.pages import is_fragment, redirect
from app.console.provider_logout import address_at_provider
from app.console.rendering import frame, page
from app.console.sign_in import signed_out
from app.database import Connection
from app.errors import Unavailable
from app.http import wire
from app.http.keys import DATABASE

_PAGE_SIZE = 100


async def get_sessions(request: web.Request) -> web.Response:
    """List the sessions of the caller. An administrator sees those of others too."""
    try:
        async with request.app[DATABASE].connection() as connection:
            views = await service.list_visible(connection, request[CALLER])
    except Unavailable as error:
        return page(
            request, "access/sessions.html", status=503, rows=(), own_count=0, problem=error.message
        )
    return page(
        request,
        "access/sessions.html",
        rows=[session_row(request, view) for view in views],
        own_count=sum(view.is_own for view in views),
        problem="",
        ended="ended" in request.query,
    )


async def post_session_end(request: web.Request) -> web.Response:
    """End one session of the list."""
    session_id, caller = request.match_info["id"], request[CALLER]
    address = await address_at_provider(request, caller.session)

    async def end(connection: Connection) -> None:
        edit = edit_of(request, connection)
        await edit.lock(Scope.READ)
        now = replace(caller, rights=edit.rights)
        await service.end(connection, edit.log, session_id, now, origin=edit.origin)

    await request.app[DATABASE].transact(end)
    await request.app[TOKENS].refresh_if_possible()
    if session_id == caller.session_id:
        return signed_out(request, address=address)
    return redirect(frame(request).url_of("sessions", ended=""))


async def post_sessions_end(request: web.Request) -> web.Response:
    """End every session of the caller, in every browser."""
    caller, log, origin_ = request[CALLER], request.app[ACCESS_LOG], origin(request)
    address = await address_at_provider(request, caller.session)

    async def work(connection: Connection) -> tuple[int, int]:
        # Those that the page listed: others have expired.
        views = await service.list_visible(connection, caller)
        await service.end_everywhere(connection, log, caller, origin=origin_)
        own = sum(view.is_own for view in views)
        return own, len(views) - own

    ended, others = await request.app[DATABASE].transact(work)
    await request.app[TOKENS].refresh_if_possible()
    return signed_out(request, sessions=ended, others=others, address=address)


async def get_access_log(request: web.Request) -> web.Response:
    """List the access log, the latest first, by event and environment."""
    rights = request[CALLER].rights
    query = {name: text for name, text in request.query.items() if text}
    event = wire.choice(query, "event", AccessEvent)
    environment = query.get("environment")
    check_environment(rights, environment)
    before = wire.before(query)
    try:
        async with request.app[DATABASE].connection() as connection:
            part = await read_page(
                connection,
                rights,
                before=before,
                limit=_PAGE_SIZE,
                event=event,
                environment=environment,
            )
    except Unavailable as error:
        if is_fragment(request):
            raise
        return page(request, "access/access_log.html", status=503, rows=None, problem=error.message)
    return page(
        request,
        "access/_accesses.html" if is_fragment(request) else "access/access_log.html",
        rows=[access_row(request, view) for view in part.items],
        problem="",
        next=part.next,
        events=EVENT_TEXTS,
    )
