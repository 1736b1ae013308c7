"""The pages of grants: who may do what where, a new grant, and the end of one."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from app.access.actors import actor_names
from app.access.guard import TOKENS
from app.access.models import Scope
from app.access.people import grants, history, own_roles, projects
from app.access.people.grants import GrantFilter
from app.access.people.roles import ADMIN
from app.access.people.views import GrantView, NewGrant
from app.console.forms import FormErrors, read_form
from app.console.pages import redirect
from app.console.people.access import all_grants, edit, list_page, own_rights
from app.console.people.forms import GrantForm
from app.console.people.history_words import history_row, people_in
from app.console.people.people_pages import all_people
from app.console.people.rows import GrantRow, grant_row, ownership_row, scope_list
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError
from app.http import problems, wire
from app.http.keys import DATABASE

_SHOWN_MAX = 200
_HISTORY_SIZE = 100
_DONE = {"granted": "Granted.", "revoked": "Revoked."}


async def get_grants(request: web.Request) -> web.Response:
    """List grants, by environment, key or prefix, role, person or group."""
    query = {
        name: request.query.get(name, "").strip() for name in ("environment", "key", "role", "who")
    }

    async def read(connection: Connection) -> dict[str, Any]:
        filters = GrantFilter(role=query["role"] or None, environment=query["environment"] or None)
        found = await all_grants(request, connection, filters)
        rows = [grant_row(request, view) for view in found]
        if query["role"] in {"", ADMIN}:
            visible = await projects.list_visible(connection, own_rights(request))
            views = await projects.project_views(connection, request.app[TOKENS].key, visible)
            rows += [ownership_row(request, view) for view in views]
        matching = in_order([row for row in rows if _matches(row.view, query["key"], query["who"])])
        shown = matching if "all" in request.query else matching[:_SHOWN_MAX]
        return {
            "rows": shown,
            "hidden": len(matching) - len(shown),
            "query": query,
            "is_filtered": any(query.values()),
            "roles": [role.name for role in await own_roles.list_all(connection)],
            "holders": sorted({row.view.holder for row in rows}),
            "done": _DONE.get(request.query.get("done", ""), ""),
        }

    return await list_page(request, "people/grants.html", read)


def in_order(rows: Sequence[GrantRow]) -> list[GrantRow]:
    """Return grants by prefix, holder and role."""
    return sorted(
        rows, key=lambda row: (row.view.prefix, row.view.holder.casefold(), row.view.role)
    )


def _matches(view: GrantView, key: str, who: str) -> bool:
    """Return whether a grant is for keys that begin with the text, or for a beginning of it."""
    is_near = key.startswith(view.prefix) or view.prefix.startswith(key)
    words = who.casefold()
    return is_near and (words in view.holder.casefold() or who == f"person:{view.person}")


async def get_new_grant(request: web.Request) -> web.Response:
    """Show the form of a new grant, with what a link of the console chose."""
    return await _form(request, GrantForm.of(request.query))


async def post_new_grant(request: web.Request) -> web.Response:
    """Grant a role, and lead to the grants."""
    form = GrantForm.of(await read_form(request))
    new = NewGrant(
        person=form.person or None,
        group=form.group or None,
        role=form.role,
        environments=list(form.environments),
        prefix=form.prefix,
        reason=form.reason,
    )
    try:
        await edit(request, lambda access: grants.create(access, new))
    except AppError as error:
        return await _form(request, form, error)
    return redirect(frame(request).url_of("grants", done="granted"))


async def _form(
    request: web.Request, form: GrantForm, error: AppError | None = None
) -> web.Response:
    async with request.app[DATABASE].connection() as connection:
        people = await all_people(request, connection)
        roles = await own_roles.list_all(connection)
    return page(
        request,
        "people/new_grant.html",
        status=200 if error is None else problems.STATUS[type(error)],
        form=form,
        people=people,
        roles=roles,
        errors=None if error is None else FormErrors.of(error),
    )


async def get_grant(request: web.Request) -> web.Response:
    """Show a grant, with the form that revokes it."""
    return await _details(request)


async def post_grant_revocation(request: web.Request) -> web.Response:
    """Revoke a grant, and lead to the others."""
    form = await read_form(request)
    reason, grant_id = form.get("reason", "").strip(), request.match_info["id"]
    try:
        await edit(request, lambda access: grants.revoke(access, grant_id, reason=reason))
    except AppError as error:
        return await _details(request, reason, error)
    return redirect(frame(request).url_of("grants", done="revoked"))


async def _details(
    request: web.Request, reason: str = "", error: AppError | None = None
) -> web.Response:
    key = request.app[TOKENS].key
    async with request.app[DATABASE].connection() as connection:
        grant = await grants.find(connection, own_rights(request), request.match_info["id"])
        (view,) = await grants.grant_views(connection, key, [grant])
        roles = await own_roles.list_all(connection)
    scopes = next((role.scopes for role in roles if role.name == view.role), frozenset[Scope]())
    return page(
        request,
        "people/grant.html",
        status=200 if error is None else problems.STATUS[type(error)],
        row=grant_row(request, view),
        scopes=scope_list(scopes),
        reason=reason,
        errors=None if error is None else FormErrors.of(error),
    )


async def get_access_history(request: web.Request) -> web.Response:
    """List the changes of grants, roles, projects and suspensions, the latest first."""
    before, subject = wire.before(request.query), request.query.get("subject") or None

    async def read(connection: Connection) -> dict[str, Any]:
        found = await history.list_page(
            connection, own_rights(request), before=before, limit=_HISTORY_SIZE, subject=subject
        )
        names = await actor_names(connection, people_in(found.items))
        rows = [history_row(request, item, names) for item in found.items]
        return {"rows": rows, "next": found.next}

    return await list_page(request, "people/history.html", read)
