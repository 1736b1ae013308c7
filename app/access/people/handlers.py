"""The endpoints of people, roles, grants and projects. They check nothing that services check."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from app.access.format import is_id
from app.access.guard import ACCESS_LOG, CALLER, TOKENS, origin
from app.access.people import grants, history, own_roles, projects, suspension, views
from app.access.people.edit import AccessEdit, AccessEventName
from app.access.people.grants import GrantFilter
from app.access.people.models import Person, Project, Role, RoleGrant
from app.access.people.signatures import RowSigner
from app.access.people.views import GrantView, PersonView, ProjectView, RoleView
from app.database import Connection
from app.errors import NotFound, malformed
from app.http import wire
from app.http.conditions import read_expected_version
from app.http.headers import entity_tag
from app.http.keys import DATABASE
from app.http.writes import run_write
from app.names import ENVIRONMENT_RULE, is_environment

View = TypeVar("View", bound=msgspec.Struct)


async def list_people(request: web.Request) -> web.Response:
    """List the people who have signed in.

    `search` is a part of a name or an e-mail address. Pages are in the order of IDs.
    """
    query = wire.read_query(request, {"search", "group", "after", "limit"})

    async with request.app[DATABASE].connection() as connection:
        page = await suspension.list_page(
            connection,
            request.app[TOKENS].key,
            search=query.get("search"),
            group=query.get("group"),
            after=query.get("after", ""),
            limit=wire.page_size(query),
        )

    return wire.answer(page)


async def get_person(request: web.Request) -> web.Response:
    """Read a person."""
    wire.read_query(request, set())
    signer = RowSigner(request.app[TOKENS].key)

    async with request.app[DATABASE].connection() as connection:
        person = await suspension.get(connection, _id(request, "person"))

    return wire.answer(suspension.person_view(person, signer))


async def suspend_person(request: web.Request) -> web.Response:
    """Suspend a person.

    Every instance ends their sessions within one second. Their grants stay, for a later restore.
    Their tokens stay valid: revoke those that they created. Needs `admin` for all keys in all
    environments.
    """
    return await _change_person(request, suspension.suspend)


async def restore_person(request: web.Request) -> web.Response:
    """Restore a suspended person.

    The person can sign in again, with their grants. Needs `admin` for all keys in all environments.
    """
    return await _change_person(request, suspension.restore)


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

    view = await _write(request, lambda edit: own_roles.create(edit, body), _role_view, RoleView)

    return _created(view, f"/v1/roles/{view.name}", version=view.version)


async def put_role(request: web.Request) -> web.Response:
    """Change a role, and so all its grants.

    `If-Match` has the version. Needs `admin` for all keys in all environments.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    name = request.match_info["name"]
    body = await wire.read_body(request, views.RoleChange)

    view = await _write(
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

    view = await _write(
        request,
        lambda edit: own_roles.delete(edit, name, expected=expected, reason=reason),
        _role_view,
        RoleView,
    )

    return wire.answer(view)


async def list_grants(request: web.Request) -> web.Response:
    """List the grants within the caller's environments and keys.

    `project` selects the grants for keys of a project. Pages are in the order of IDs.
    """
    names = {"person", "group", "role", "environment", "project"}
    query = wire.read_query(request, names | {"after", "limit"})
    if not is_environment(query.get("environment", "any")):
        raise malformed("environment", ENVIRONMENT_RULE)
    filters = GrantFilter(**{name: query[name] for name in names & query.keys()})

    async with request.app[DATABASE].connection() as connection:
        page = await grants.list_page(
            *(connection, request.app[TOKENS].key, request[CALLER].rights, filters),
            after=query.get("after", ""),
            limit=wire.page_size(query),
        )

    return wire.answer(page)


async def get_grant(request: web.Request) -> web.Response:
    """Read a grant."""
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        grant = await grants.find(connection, request[CALLER].rights, _id(request, "grant"))
        view = (await grants.grant_views(connection, request.app[TOKENS].key, [grant]))[0]

    return wire.answer(view)


async def create_grant(request: web.Request) -> web.Response:
    """Give a role to a person or a group.

    The role, the environments and the prefix must be within the rights of the caller. A group may
    be granted a role before it has members.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.NewGrant)

    view = await _write(request, lambda edit: grants.create(edit, body), _grant_view, GrantView)

    return _created(view, f"/v1/grants/{view.id}")


async def revoke_grant(request: web.Request) -> web.Response:
    """Revoke a grant.

    Every instance follows within one second, also in open streams. The answer is its last state.
    """
    query = wire.read_query(request, {"reason"})
    grant_id, reason = _id(request, "grant"), query.get("reason", "")

    view = await _write(
        request, lambda edit: grants.revoke(edit, grant_id, reason=reason), _grant_view, GrantView
    )

    return wire.answer(view)


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

    view = await _write(
        request, lambda edit: projects.create(edit, body), _project_view, ProjectView
    )

    return _created(view, f"/v1/projects/{view.name}", version=view.version)


async def patch_project(request: web.Request) -> web.Response:
    """Change a project.

    The owner group and the description can change, the prefix cannot. `If-Match` has the version.
    """
    wire.read_query(request, set())
    expected = read_expected_version(request, may_create=False)
    name = request.match_info["name"]
    body = await wire.read_body(request, views.ProjectChange, types=wire.MERGE_PATCH)

    view = await _write(
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

    view = await _write(
        request,
        lambda edit: projects.delete(edit, name, expected=expected, reason=reason),
        _project_view,
        ProjectView,
    )

    return wire.answer(view)


async def list_access_history(request: web.Request) -> web.Response:
    """List the changes of grants, roles, projects and suspensions.

    The latest comes first. Administrators see the changes within their environments and keys.
    """
    query = wire.read_query(request, {"before", "limit", "access_event", "subject"})

    async with request.app[DATABASE].connection() as connection:
        page = await history.list_page(
            connection,
            request[CALLER].rights,
            before=wire.before(query),
            limit=wire.page_size(query),
            event=wire.choice(query, "access_event", AccessEventName),
            subject=query.get("subject"),
        )

    return wire.answer(page)


async def _change_person(
    request: web.Request, change: Callable[..., Awaitable[Person]]
) -> web.Response:
    wire.read_query(request, set())
    body = await wire.read_body(request, views.SuspensionRequest)
    person_id = _id(request, "person")

    view = await _write(
        request,
        lambda edit: change(edit, person_id, reason=body.reason),
        _person_view,
        PersonView,
    )

    return wire.answer(view)


Row = TypeVar("Row", Person, Role, RoleGrant, Project)


async def _write(
    request: web.Request,
    work: Callable[[AccessEdit], Awaitable[Row]],
    view_of: Callable[[AccessEdit, Row], Awaitable[View]],
    view_type: type[View],
) -> View:
    """Make a change once per Idempotency-Key, and refresh this instance. Return its view."""
    log, key = request.app[ACCESS_LOG], request.app[TOKENS].key
    caller, author = request[CALLER], origin(request)

    async def write(connection: Connection) -> View:
        edit = AccessEdit(
            connection=connection, log=log, key=key, rights=caller.rights, origin=author
        )
        return await view_of(edit, await work(edit))

    view = await run_write(request, write, actor=caller.actor, answer_type=view_type)
    await request.app[TOKENS].refresh_if_possible()
    return view


async def _person_view(edit: AccessEdit, person: Person) -> PersonView:
    return suspension.person_view(person, edit.signer)


async def _role_view(edit: AccessEdit, role: Role) -> RoleView:
    return (await own_roles.role_views(edit.connection, edit.key, [edit.signer.signed(role)]))[0]


async def _grant_view(edit: AccessEdit, grant: RoleGrant) -> GrantView:
    return (await grants.grant_views(edit.connection, edit.key, [grant]))[0]


async def _project_view(edit: AccessEdit, project: Project) -> ProjectView:
    signed = edit.signer.signed(project)
    return (await projects.project_views(edit.connection, edit.key, [signed]))[0]


def _created(body: msgspec.Struct, location: str, *, version: int | None = None) -> web.Response:
    tag = {} if version is None else {"ETag": entity_tag(version, "")}
    return wire.answer(body, status=201, headers={"Location": location} | tag)


def _id(request: web.Request, noun: str) -> str:
    """Return the ID in the path. Raises NotFound for a text that is no ID."""
    id_ = request.match_info["id"]
    if not is_id(id_):
        raise NotFound(f"{noun}_unknown", f"There is no such {noun}.")
    return id_
