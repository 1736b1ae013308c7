"""The endpoints of people, their grants, and the history of access."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from app.access.format import is_id
from app.access.guard import CALLER, TOKENS
from app.access.people import grants, history, service, views
from app.access.people.access_writes import created, write_access
from app.access.people.edit import AccessEdit, AccessEventName
from app.access.people.grants import GrantFilter
from app.access.people.models import Person, RoleGrant, person_id_of
from app.access.people.signatures import RowSigner
from app.access.people.views import GrantView, PersonView
from app.errors import malformed
from app.http import wire
from app.http.keys import DATABASE
from app.names import ENVIRONMENT_RULE, is_environment


async def list_people(request: web.Request) -> web.Response:
    """List the people who have signed in.

    `search` is a part of a name or an e-mail address. Pages are in the order of names.
    """
    query = wire.read_query(request, {"search", "group", "after", "limit"})

    async with request.app[DATABASE].connection() as connection:
        page = await service.list_page(
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
        person = await service.get(connection, _person_id(request))

    return wire.answer(service.person_view(person, signer))


async def suspend_person(request: web.Request) -> web.Response:
    """Suspend a person.

    Every instance ends their sessions within one second. Their grants stay, for a later restore.
    Their tokens stay valid: revoke those that they created. Needs `admin` for all keys in all
    environments.
    """
    return await _change_person(request, service.suspend)


async def restore_person(request: web.Request) -> web.Response:
    """Restore a suspended person.

    The person can sign in again, with their grants. Needs `admin` for all keys in all environments.
    """
    return await _change_person(request, service.restore)


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
        grant = await grants.find(connection, request[CALLER].rights, _grant_id(request))
        view = (await grants.grant_views(connection, request.app[TOKENS].key, [grant]))[0]

    return wire.answer(view)


async def create_grant(request: web.Request) -> web.Response:
    """Give a role to a person or a group.

    The role, the environments and the prefix must be within the rights of the caller. A group may
    be granted a role before it has members.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.NewGrant)

    view = await write_access(
        request, lambda edit: grants.create(edit, body), _grant_view, GrantView
    )

    return created(view, f"/v1/grants/{view.id}")


async def revoke_grant(request: web.Request) -> web.Response:
    """Revoke a grant.

    Every instance follows within one second, also in open streams. The answer is its last state.
    """
    query = wire.read_query(request, {"reason"})
    grant_id, reason = _grant_id(request), query.get("reason", "")

    view = await write_access(
        request, lambda edit: grants.revoke(edit, grant_id, reason=reason), _grant_view, GrantView
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
    person_id = _person_id(request)

    view = await write_access(
        request,
        lambda edit: change(edit, person_id, reason=body.reason),
        _person_view,
        PersonView,
    )

    return wire.answer(view)


async def _person_view(edit: AccessEdit, person: Person) -> PersonView:
    return service.person_view(person, edit.signer)


async def _grant_view(edit: AccessEdit, grant: RoleGrant) -> GrantView:
    return (await grants.grant_views(edit.connection, edit.key, [grant]))[0]


def _person_id(request: web.Request) -> str:
    """Return the ID in the path. Raises NotFound for a text that is no ID."""
    id_ = person_id_of(request.match_info["id"])
    if not is_id(id_):
        raise service.unknown()
    return id_


def _grant_id(request: web.Request) -> str:
    """Return the ID in the path. Raises NotFound for a text that is no ID."""
    id_ = request.match_info["id"]
    if not is_id(id_):
        raise grants.unknown()
    return id_
