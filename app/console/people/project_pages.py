"""The pages of projects: prefixes of keys with an owner group."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.access import tokens
from app.access.guard import TOKENS
from app.access.people import projects
from app.access.people.views import GrantView, NewProject, ProjectChange, ProjectView
from app.console.access.views import TokenRow, token_rows
from app.console.actors import NamedActor, actor_of
from app.console.forms import FormErrors, read_form
from app.console.pages import redirect
from app.console.people.access import all_grants, edit, expected_version, list_page, own_rights
from app.console.people.forms import ProjectForm
from app.console.people.grant_pages import in_order
from app.console.people.rows import grant_row
from app.console.rendering import frame, page
from app.database import Connection
from app.errors import AppError
from app.http import problems
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
        views = await projects.project_views(connection, request.app[TOKENS].key, visible)
        given = await all_grants(request, connection)
        counts = Counter(
            view.name for view in views for grant in given if grant.prefix.startswith(view.prefix)
        )
        rows = [
            ProjectRow(
                view=view,
                grants=counts[view.name],
                author=actor_of(request, view.created_by, view.created_by_name),
            )
            for view in views
        ]
        return {"rows": rows, "deleted": request.query.get("deleted", "")}

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
    given: list[GrantView] = []
    limited: list[TokenRow] = []
    if name:
        rights = own_rights(request)
        async with request.app[DATABASE].connection() as connection:
            project = await projects.get(connection, rights, name)
            prefix = project.prefix
            every = await all_grants(request, connection)
            given = [view for view in every if view.prefix.startswith(prefix)]
            views = (await tokens.list_page(connection, rights, after="", limit=_TOKENS_MAX)).items
            within = [view for view in views if all(p.startswith(prefix) for p in view.prefixes)]
            limited = [row for row in token_rows(request, within) if not row.is_over]
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
        status=200 if error is None else problems.STATUS[type(error)],
        stored=name,
        form=form,
        grants=in_order([grant_row(request, view) for view in given]),
        tokens=limited,
        saved="saved" in request.query,
        errors=None if error is None else FormErrors.of(error),
    )
