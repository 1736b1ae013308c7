"""The pages of people and groups."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from app.access.actors import actor_names
from app.access.guard import CALLER, TOKENS, readable_keys
from app.access.people import grants, projects, service
from app.access.people.models import Person, Project, RoleGrant
from app.access.people.rows import find_person
from app.access.people.signatures import RowSigner
from app.access.sessions import service as sessions
from app.configuration.changes.history_search import ChangeSetFilter, find_revisions
from app.console.access.views import session_row
from app.console.actors import NamedActor, actor_of
from app.console.forms import FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.people.access import (
    edit,
    is_full_administrator,
    list_page,
    own_rights,
    read_current,
    visible_grants,
)
from app.console.people.listed_page import ROWS_MAX, ListedPage, listed_page
from app.console.people.rows import RightsRow, environment_words, person_row, rights_row
from app.console.rendering import frame, page
from app.database import Connection, sql
from app.errors import AppError
from app.http.keys import DATABASE, SETTINGS
from app.http.wire import LATEST
from app.settings import Settings

# The people whom a form offers.
_PEOPLE_MAX = 500
# The grants that the list shows of each group.
_GIVEN_MAX = 5
_GROUPS_MAX = 500
_CHANGES_MAX = 5
_ENVIRONMENTS_MAX = 20
# Suspends or restores a person, for a reason.
Change = Callable[..., Awaitable[Person]]
_DONE = {
    "suspended": "Suspended. Their sessions have ended, on every instance within a second.",
    "restored": "Restored. They may sign in again.",
}


@dataclass(frozen=True, kw_only=True)
class LatestChange:
    """A change set of a person, without its content."""

    revision: int
    message: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """A group: how many people are in it, and what it gives them."""

    name: str
    people: int
    grants: Sequence[RoleGrant]
    projects: Sequence[Project]


async def get_people(request: web.Request) -> web.Response:
    """List the people who have signed in."""
    search = request.query.get("q", "").strip()
    group = request.query.get("group", "").strip()

    async def read(connection: Connection) -> dict[str, Any]:
        found = await service.list_page(
            connection,
            request.app[TOKENS].key,
            search=search or None,
            group=group or None,
            after=request.query.get("after", ""),
            limit=ROWS_MAX,
        )
        return {
            "rows": [person_row(request, view) for view in found.items],
            "next": found.next,
            "groups": [name for name, _ in await _groups(connection)],
            "is_filtered": bool(search or group or "after" in request.query),
            "has_sign_in": _has_sign_in(request.app[SETTINGS]),
        }

    return await list_page(request, "people/people.html", read)


async def all_people(request: web.Request, connection: Connection, chosen: str) -> list[NamedActor]:
    """Return the first people by name, and the chosen actor if it is a person, for a form."""
    rows = sql.list_people_names(connection, page_size=_PEOPLE_MAX)
    names = {f"person:{row['id']}": row["name"] async for row in rows}
    _, _, id_ = chosen.partition("person:")
    if id_ and chosen not in names and (person := await find_person(connection, id_)) is not None:
        names = {chosen: person.name, **names}
    return [actor_of(request, actor, name) for actor, name in names.items()]


async def get_person(request: web.Request) -> web.Response:
    """Show a person: rights with their reasons, sessions and the latest changes."""
    return await _details(request)


async def post_suspension(request: web.Request) -> web.Response:
    """Suspend a person."""
    return await _change(request, service.suspend, "suspended")


async def post_restoration(request: web.Request) -> web.Response:
    """Restore a suspended person."""
    return await _change(request, service.restore, "restored")


async def _change(request: web.Request, change: Change, done: str) -> web.Response:
    person_id = request.match_info["id"]
    reason = (await read_form(request)).get("reason", "").strip()
    try:
        await edit(request, lambda access: change(access, person_id, reason=reason))
    except AppError as error:
        return await _details(request, reason, error)
    return redirect(frame(request).url_of("people", person_id, done=done))


async def _details(
    request: web.Request, reason: str = "", error: AppError | None = None
) -> web.Response:
    caller = request[CALLER]
    await read_current(request)
    async with request.app[DATABASE].connection() as connection:
        person = await service.get(connection, request.match_info["id"])
        rights = await held_rights(request, connection, person)
        views = await sessions.list_visible(connection, caller, actor=person.actor)
        changes = await _latest_changes(request, connection, person.actor)
    return page(
        request,
        "people/person.html",
        status=shown_status(request, error),
        person=person,
        is_own=person.actor == caller.actor,
        rights=rights,
        sessions=[session_row(request, view) for view in views],
        changes=changes,
        may_suspend=is_full_administrator(request),
        reason=reason,
        done=_DONE.get(request.query.get("done", ""), ""),
        errors=None if error is None else FormErrors.of(error),
    )


async def held_rights(
    request: web.Request, connection: Connection, person: Person, *, is_own: bool = False
) -> ListedPage[RightsRow]:
    """Return a page of the grants of a person, those that name them first.

    An administrator sees those within their own rights; a person sees all of theirs.
    """
    book = request.app[TOKENS].people.book
    is_genuine = RowSigner(request.app[TOKENS].key).accepts(person)
    held = book.held_by(person.id, person.groups) if is_genuine else []
    part = listed_page(request, held if is_own else grants.visible(own_rights(request), held))
    names = await actor_names(connection, [grant.created_by for grant in part.rows])
    rows = [rights_row(request, book, grant, names) for grant in part.rows]
    return ListedPage(rows=rows, number=part.number, count=part.count)


async def _latest_changes(
    request: web.Request, connection: Connection, actor: str
) -> list[tuple[str, Sequence[LatestChange]]]:
    """Return the latest changes of a person in the environments that the caller reads."""
    matching = ChangeSetFilter(actors=[actor])
    changes: list[tuple[str, Sequence[LatestChange]]] = []
    for environment in frame(request).environments[:_ENVIRONMENTS_MAX]:
        keys = readable_keys(request, environment.name)
        revisions = await find_revisions(
            connection, environment, matching, LATEST, _CHANGES_MAX, keys=keys
        )
        if not revisions:
            continue
        rows = sql.list_change_sets(
            connection, environment=environment.name, revisions=revisions, prefixes=keys.filter
        )
        latest = [
            LatestChange(
                revision=row["revision"], message=row["message"], created_at=row["created_at"]
            )
            async for row in rows
        ]
        changes.append((environment.name, latest))
    return changes


async def get_groups(request: web.Request) -> web.Response:
    """List the groups of people and of grants, those that give something first."""

    async def read(connection: Connection) -> dict[str, Any]:
        members = dict(await _groups(connection))
        given: Mapping[str, list[RoleGrant]] = defaultdict(list)
        for grant in visible_grants(request):
            if grant.group_name is not None:
                given[grant.group_name].append(grant)
        owned: Mapping[str, list[Project]] = defaultdict(list)
        for project in await projects.list_visible(connection, own_rights(request)):
            owned[project.owner_group].append(project)
        names = {*members, *given, *owned}
        rows = [
            GroupRow(
                name=name,
                people=members.get(name, 0),
                grants=given.get(name, ()),
                projects=owned.get(name, ()),
            )
            for name in names
        ]
        rows.sort(key=lambda row: (not (row.grants or row.projects), row.name.casefold()))
        part = listed_page(request, rows)
        return {
            "rows": part.rows,
            "part": part,
            "given_max": _GIVEN_MAX,
            "environment_words": environment_words,
        }

    return await list_page(request, "people/groups.html", read)


async def _groups(connection: Connection) -> list[tuple[str, int]]:
    """Return the groups of people, with the number of people in each."""
    rows = sql.list_groups(connection, groups_max=_GROUPS_MAX)
    return [(row["name"], row["people"]) async for row in rows]


def _has_sign_in(settings: Settings) -> bool:
    """Return whether people can sign in, by a provider or by a proxy."""
    return settings.oidc.issuer is not None or settings.trusted_headers.user is not None
