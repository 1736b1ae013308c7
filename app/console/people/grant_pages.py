"""The pages of grants: who may do what where, a new grant, and the end of one."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from app.access.actors import actor_names
from app.access.guard import TOKENS
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.people import grants, history, own_roles, projects
from app.access.people.grants import GrantFilter
from app.access.people.models import Project, RoleGrant
from app.access.people.views import NewGrant
from app.access.prefix_advice import prefix_advice
from app.console.forms import FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.people.access import edit, list_page, own_rights, visible_grants
from app.console.people.forms import GrantForm
from app.console.people.history_words import history_row, people_in
from app.console.people.listed_page import listed_page
from app.console.people.people_pages import all_people
from app.console.people.rows import GrantRow, grant_row, ownership_row, scope_list
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError
from app.http import wire
from app.http.keys import DATABASE

# Suggestions of the filter.
_GROUPS_MAX = 200
_HISTORY_SIZE = 100
_DONE = {"granted": "Granted.", "revoked": "Revoked."}


async def get_grants(request: web.Request) -> web.Response:
    """List grants, by environment, key or prefix, role, person or group."""
    query = {
        name: request.query.get(name, "").strip() for name in ("environment", "key", "role", "who")
    }
    environments = GrantFilter(environment=query["environment"]).environments

    async def read(connection: Connection) -> dict[str, Any]:
        visible = visible_grants(request)
        owned = await projects.list_visible(connection, own_rights(request))
        new = next((grant for grant in visible if grant.id == request.query.get("grant")), None)
        groups = {grant.group_name for grant in visible if grant.group_name is not None}
        visible += [project.ownership for project in owned]
        near = [
            grant
            for grant in visible
            if query["role"] in {"", grant.role}
            and (environments is None or not grant.environments.isdisjoint(environments))
            and _is_near(grant.prefix, query["key"])
        ]
        matching = await _held_by(connection, near, query["who"]) if query["who"] else near
        matching.sort(key=lambda grant: (grant.prefix, grant.group_name or "", grant.role))
        part = listed_page(request, matching)
        return {
            "part": part,
            "rows": await shown_rows(request, connection, part.rows, owned),
            "query": query,
            "is_filtered": any(query.values()),
            "roles": list(request.app[TOKENS].people.book.roles),
            "holders": sorted(groups)[:_GROUPS_MAX],
            "done": _DONE.get(request.query.get("done", ""), ""),
            "new": new,
            "advice": [] if new is None else prefix_advice([new.prefix]),
        }

    return await list_page(request, "people/grants.html", read)


async def shown_rows(
    request: web.Request,
    connection: Connection,
    shown: Sequence[RoleGrant],
    owned: Sequence[Project] = (),
) -> list[GrantRow]:
    """Return grants with names. Those of owner groups have the names of `owned` projects."""
    key, names = request.app[TOKENS].key, {grant.project for grant in shown}
    stored = [grant for grant in shown if grant.project is None]
    views = {view.id: view for view in await grants.grant_views(connection, key, stored)}
    of_page = [project for project in owned if project.name in names]
    projects_shown = {
        view.name: view for view in await projects.project_views(connection, key, of_page)
    }
    return [
        grant_row(request, views[grant.id])
        if grant.project is None
        else ownership_row(request, projects_shown[grant.project])
        for grant in shown
    ]


async def _held_by(connection: Connection, found: Sequence[RoleGrant], who: str) -> list[RoleGrant]:
    """Return the grants of people and groups whose name contains the text."""
    people = [f"person:{grant.person_id}" for grant in found if grant.person_id is not None]
    names, words = await actor_names(connection, people), who.casefold()
    return [
        grant
        for grant in found
        if words in (grant.group_name or names[f"person:{grant.person_id}"]).casefold()
        or who == f"person:{grant.person_id}"
    ]


def _is_near(prefix: str, key: str) -> bool:
    """Return whether the prefix is a beginning of the text, or begins with it."""
    return key.startswith(prefix) or prefix.startswith(key)


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
        grant = await edit(request, lambda access: grants.create(access, new))
    except AppError as error:
        return await _form(request, form, error)
    return redirect(frame(request).url_of("grants", done="granted", grant=grant.id))


async def _form(
    request: web.Request, form: GrantForm, error: AppError | None = None
) -> web.Response:
    async with request.app[DATABASE].connection() as connection:
        people = await all_people(request, connection, f"person:{form.person}")
        roles = await own_roles.list_all(connection)
    return page(
        request,
        "people/new_grant.html",
        status=shown_status(request, error),
        form=form,
        people=people,
        roles=roles,
        has_all=own_rights(request).covers(Scope.ADMIN, EVERY_ENVIRONMENT),
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
        status=shown_status(request, error),
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
