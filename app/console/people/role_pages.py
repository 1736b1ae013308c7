"""The pages of roles: those that are built in, and own ones."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.access.guard import TOKENS
from app.access.models import Scope
from app.access.people import own_roles
from app.access.people.roles import BUILT_IN
from app.access.people.views import NewRole, RoleChange, RoleView
from app.console.access.views import PERSON_SCOPE_TEXTS
from app.console.actors import NamedActor, actor_of
from app.console.forms import FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.people.access import (
    edit,
    expected_version,
    is_full_administrator,
    list_page,
    read_current,
    visible_grants,
)
from app.console.people.forms import RoleForm
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError, invalid
from app.http.keys import DATABASE


@dataclass(frozen=True, kw_only=True)
class RoleRow:
    """A role of the list. One that is built in has no author."""

    view: RoleView
    grants: int
    author: NamedActor | None


async def get_roles(request: web.Request) -> web.Response:
    """List the roles, those that are built in first."""

    async def read(connection: Connection) -> dict[str, Any]:
        roles = await own_roles.list_all(connection)
        views = await own_roles.role_views(connection, request.app[TOKENS].key, roles)
        counts = _count_grants(request)
        return {
            "rows": [_row(request, view, counts[view.name]) for view in views],
            "deleted": request.query.get("deleted", ""),
            "may_edit": is_full_administrator(request),
        }

    return await list_page(request, "people/roles.html", read)


async def get_new_role(request: web.Request) -> web.Response:
    """Show the form of a new role."""
    return await _form(request, RoleForm(scopes=(Scope.READ, Scope.EVALUATE)))


async def post_new_role(request: web.Request) -> web.Response:
    """Create a role."""
    form = RoleForm.of(await read_form(request))
    try:
        new = NewRole(
            name=form.name,
            scopes=_scopes(form),
            description=form.description,
            reason=form.reason,
        )
        await edit(request, lambda access: own_roles.create(access, new))
    except AppError as error:
        return await _form(request, form, error=error)
    return redirect(frame(request).url_of("roles", form.name, saved=""))


async def get_role(request: web.Request) -> web.Response:
    """Show a role, with the form that changes it."""
    return await _form(request, None, name=request.match_info["name"])


async def post_role(request: web.Request) -> web.Response:
    """Change the scopes or the description of a role."""
    form, name = RoleForm.of(await read_form(request)), request.match_info["name"]
    try:
        change = RoleChange(scopes=_scopes(form), description=form.description, reason=form.reason)
        expected = expected_version(form.version)
        await edit(
            request, lambda access: own_roles.change(access, name, change, expected=expected)
        )
    except AppError as error:
        return await _form(request, form, name=name, error=error)
    return redirect(frame(request).url_of("roles", name, saved=""))


async def post_role_deletion(request: web.Request) -> web.Response:
    """Delete a role without grants."""
    form, name = RoleForm.of(await read_form(request)), request.match_info["name"]
    try:
        expected = expected_version(form.version)
        await edit(
            request,
            lambda access: own_roles.delete(access, name, expected=expected, reason=form.reason),
        )
    except AppError as error:
        return await _form(request, None, name=name, error=error)
    return redirect(frame(request).url_of("roles", deleted=name))


async def _form(
    request: web.Request,
    form: RoleForm | None,
    *,
    name: str = "",
    error: AppError | None = None,
) -> web.Response:
    """Show the form as it was typed, or by default what is stored."""
    count = 0
    if name:
        await read_current(request)
        async with request.app[DATABASE].connection() as connection:
            role = await own_roles.get(connection, name)
            count = _count_grants(request)[name]
        form = form or RoleForm(
            name=name,
            description=role.description,
            scopes=tuple(role.scopes),
            version=str(role.version),
        )
    return page(
        request,
        "people/role.html",
        status=shown_status(request, error),
        stored=name,
        form=form,
        scopes=PERSON_SCOPE_TEXTS.items(),
        is_built_in=name in BUILT_IN,
        may_edit=is_full_administrator(request),
        grants=count,
        saved="saved" in request.query,
        errors=None if error is None else FormErrors.of(error),
    )


def _row(request: web.Request, view: RoleView, count: int) -> RoleRow:
    author = None
    if view.created_by is not None:
        author = actor_of(request, view.created_by, view.created_by_name or "")
    return RoleRow(view=view, grants=count, author=author)


def _count_grants(request: web.Request) -> Counter[str]:
    """Return the number of grants of each role that the caller may see."""
    return Counter(grant.role for grant in visible_grants(request))


def _scopes(form: RoleForm) -> list[Scope]:
    """Return the chosen scopes. Raises Invalid."""
    if not form.scopes:
        raise invalid("scopes", "must not be empty")
    if not set(form.scopes) <= set(Scope):
        raise invalid("scopes", f"must be among {', '.join(Scope)}")
    return list(map(Scope, form.scopes))
