"""The endpoints of projects."""

from aiohttp import web

from app.access.guard import CALLER, TOKENS
from app.access.people import projects, views
from app.access.people.access_writes import created, write_access
from app.access.people.edit import AccessEdit
from app.access.people.models import Project
from app.access.people.views import ProjectView
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.headers import entity_tag
from app.http.keys import DATABASE


async def list_projects(request: web.Request) -> web.Response:
    """List the projects within the caller's keys."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        visible = await projects.list_visible(connection, request[CALLER].rights)
        items = await projects.project_views(connection, request.app[TOKENS].key, visible)

    return wire.answer(views.ProjectList(items=items))


async def get_project(request: web.Request) -> web.Response:
    """Read a project. The ETag is its version."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        name = request.match_info["name"]
        project = await projects.get(connection, request[CALLER].rights, name)
        view = (await projects.project_views(connection, request.app[TOKENS].key, [project]))[0]

    return wire.answer(view, headers={"ETag": entity_tag(view.version, "")})


async def create_project(request: web.Request) -> web.Response:
    """Create a project.

    Members of the owner group get the role admin for the keys with its prefix in all environments.
    So the caller must have that role there.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.NewProject)

    view = await write_access(
        request, lambda edit: projects.create(edit, body), _project_view, ProjectView
    )

    return created(view, f"/v1/projects/{view.name}", version=view.version)


async def patch_project(request: web.Request) -> web.Response:
    """Change a project.

    The owner group and the description can change, the prefix cannot. `If-Match` has the version.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    name = request.match_info["name"]
    body = await wire.read_body(request, views.ProjectChange, types=wire.MERGE_PATCH)

    view = await write_access(
        request,
        lambda edit: projects.change(edit, name, body, expected=expected),
        _project_view,
        ProjectView,
    )

    return wire.answer(view, headers={"ETag": entity_tag(view.version, "")})


async def delete_project(request: web.Request) -> web.Response:
    """Delete a project.

    `If-Match` has the version. Its entries stay, and so do grants for its keys. The answer is its
    last state.
    """
    query = wire.read_query(request, {"reason"})
    expected = read_expected_version(request, may_create=False)
    name, reason = request.match_info["name"], query.get("reason", "")

    view = await write_access(
        request,
        lambda edit: projects.delete(edit, name, expected=expected, reason=reason),
        _project_view,
        ProjectView,
    )

    return wire.answer(view)


async def _project_view(edit: AccessEdit, project: Project) -> ProjectView:
    return (await projects.project_views(edit.connection, edit.key, [project]))[0]
