"""The pages of projects: prefixes of keys with an owner group."""

from bisect import bisect, bisect_left
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.access import tokens
from app.access.guard import TOKENS
from app.access.people import projects
from app.access.people.views import NewProject, ProjectChange, ProjectView
from app.console.access.views import token_rows
from app.console.actors import NamedActor, actor_of
from app.console.forms import FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.people.access import (
    edit,
    expected_version,
    list_page,
    own_rights,
    read_current,
    visible_grants,
)
from app.console.people.forms import ProjectForm
from app.console.people.grant_pages import shown_rows
from app.console.people.listed_page import ROWS_MAX, listed_page
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError
from app.http.keys import DATABASE

_TOKENS_MAX = 1_000


@dataclass(frozen=True, kw_only=True)
class ProjectRow:
    """A project of the list, with the number of its grants."""

    view: ProjectView
    grants: int
    author: NamedActor


async def get_projects(request: web.Request) -> web.Response:
    """List the projects of the caller."""

    async def read(connection: Connection) -> dict[str, Any]:
        visible = await projects.list_visible(connection, own_rights(request))
        part = listed_page(request, visible)
        views = await projects.project_views(connection, request.app[TOKENS].key, part.rows)
        prefixes = sorted(grant.prefix for grant in visible_grants(request))
        rows = [
            ProjectRow(
                view=view,
                # No prefix has a tilde, and all other characters sort before it.
                grants=bisect(prefixes, f"{view.prefix}~") - bisect_left(prefixes, view.prefix),
                author=actor_of(request, view.created_by, view.created_by_name),
            )
            for view in views
        ]
        return {"rows": rows, "part": part, "deleted": request.query.get("deleted", "")}

    return await list_page(request, "people/projects.html", read)


async def get_new_project(request: web.Request) -> web.Response:
    """Show the form of a new project."""
    return await _form(request, ProjectForm.of(request.query))


async def post_new_project(request: web.Request) -> web.Response:
    """Create a project."""
    form = ProjectForm.of(await read_form(request))
    new = NewProject(
        name=form.name,
        prefix=form.prefix,
        owner_group=form.owner_group,
        description=form.description,
        reason=form.reason,
    )
    try:
        await edit(request, lambda access: projects.create(access, new))
    except AppError as error:
        return await _form(request, form, error=error)
    return redirect(frame(request).url_of("projects", form.name, saved=""))


async def get_project(request: web.Request) -> web.Response:
    """Show a project: its form, its grants and its tokens."""
    return await _form(request, None, name=request.match_info["name"])


async def post_project(request: web.Request) -> web.Response:
    """Change the owner group or the description of a project."""
    form, name = ProjectForm.of(await read_form(request)), request.match_info["name"]
    change = ProjectChange(
        owner_group=form.owner_group, description=form.description, reason=form.reason
    )
    try:
        expected = expected_version(form.version)
        await edit(request, lambda access: projects.change(access, name, change, expected=expected))
    except AppError as error:
        return await _form(request, form, name=name, error=error)
    return redirect(frame(request).url_of("projects", name, saved=""))


async def post_project_deletion(request: web.Request) -> web.Response:
    """Delete a project. Its keys and grants stay."""
    form, name = ProjectForm.of(await read_form(request)), request.match_info["name"]
    try:
        expected = expected_version(form.version)
        await edit(
            request,
            lambda access: projects.delete(access, name, expected=expected, reason=form.reason),
        )
    except AppError as error:
        return await _form(request, None, name=name, error=error)
    return redirect(frame(request).url_of("projects", deleted=name))


async def _form(
    request: web.Request,
    form: ProjectForm | None,
    *,
    name: str = "",
    error: AppError | None = None,
) -> web.Response:
    """Show the form as it was typed, or by default what is stored."""
    details: dict[str, Any] = {}
    if name:
        await read_current(request)
        async with request.app[DATABASE].connection() as connection:
            project = await projects.get(connection, own_rights(request), name)
            details = await _details(request, connection, project.prefix)
        form = form or ProjectForm(
            name=name,
            prefix=project.prefix,
            owner_group=project.owner_group,
            description=project.description,
            version=str(project.version),
        )
    return page(
        request,
        "people/project.html",
        status=shown_status(request, error),
        stored=name,
        form=form,
        saved="saved" in request.query,
        errors=None if error is None else FormErrors.of(error),
        **details,
    )


async def _details(request: web.Request, connection: Connection, prefix: str) -> dict[str, Any]:
    """Return the first grants and tokens below the prefix of a project, and their numbers."""
    given = [grant for grant in visible_grants(request) if grant.prefix.startswith(prefix)]
    given.sort(key=lambda grant: (grant.prefix, grant.group_name or "", grant.role))
    views = await tokens.list_page(connection, own_rights(request), after="", limit=_TOKENS_MAX)
    within = [view for view in views.items if all(p.startswith(prefix) for p in view.prefixes)]
    limited = [row for row in token_rows(request, within) if not row.is_over]
    return {
        "grants": await shown_rows(request, connection, given[:ROWS_MAX]),
        "grants_count": len(given),
        "tokens": limited[:ROWS_MAX],
        "tokens_count": len(limited),
    }
