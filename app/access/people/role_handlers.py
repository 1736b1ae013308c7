"""The endpoints of roles."""

from aiohttp import web

from app.access.guard import TOKENS
from app.access.people import own_roles, views
from app.access.people.access_writes import created, write_access
from app.access.people.edit import AccessEdit
from app.access.people.models import Role
from app.access.people.views import RoleView
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.headers import entity_tag
from app.http.keys import DATABASE


async def list_roles(request: web.Request) -> web.Response:
    """List the roles, those that are built in first."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        roles = await own_roles.list_all(connection)
        items = await own_roles.role_views(connection, request.app[TOKENS].key, roles)

    return wire.answer(views.RoleList(items=items))


async def get_role(request: web.Request) -> web.Response:
    """Read a role. The ETag is its version."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        role = await own_roles.get(connection, request.match_info["name"])
        view = (await own_roles.role_views(connection, request.app[TOKENS].key, [role]))[0]

    return wire.answer(view, headers={"ETag": entity_tag(view.version, "")})


async def create_role(request: web.Request) -> web.Response:
    """Create a role.

    Needs `admin` for all keys in all environments.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.NewRole)

    view = await write_access(
        request, lambda edit: own_roles.create(edit, body), _role_view, RoleView
    )

    return created(view, f"/v1/roles/{view.name}", version=view.version)


async def put_role(request: web.Request) -> web.Response:
    """Change a role, and so all its grants.

    `If-Match` has the version. Needs `admin` for all keys in all environments.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    name = request.match_info["name"]
    body = await wire.read_body(request, views.RoleChange)

    view = await write_access(
        request,
        lambda edit: own_roles.change(edit, name, body, expected=expected),
        _role_view,
        RoleView,
    )

    return wire.answer(view, headers={"ETag": entity_tag(view.version, "")})


async def delete_role(request: web.Request) -> web.Response:
    """Delete a role that no grant has.

    `If-Match` has the version. The answer is its last state. Needs `admin` for all keys in all
    environments.
    """
    query = wire.read_query(request, {"reason"})
    expected = read_expected_version(request, may_create=False)
    name, reason = request.match_info["name"], query.get("reason", "")

    view = await write_access(
        request,
        lambda edit: own_roles.delete(edit, name, expected=expected, reason=reason),
        _role_view,
        RoleView,
    )

    return wire.answer(view)


async def _role_view(edit: AccessEdit, role: Role) -> RoleView:
    return (await own_roles.role_views(edit.connection, edit.key, [role]))[0]
