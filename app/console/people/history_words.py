"""The history of access in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from app.access.people.edit import AccessEventName
from app.access.people.views import AccessChange
from app.access.permissions import Keys
from app.console.actors import NamedActor, actor_of
from app.console.people.rows import environment_words
from app.names import joined_words

_VERBS: Mapping[str, str] = {
    AccessEventName.GRANT_CREATED: "Granted",
    AccessEventName.GRANT_REVOKED: "Revoked",
    AccessEventName.GRANT_NARROWED: "Narrowed",
    AccessEventName.ROLE_CREATED: "Created the role",
    AccessEventName.ROLE_CHANGED: "Changed the role",
    AccessEventName.ROLE_DELETED: "Deleted the role",
    AccessEventName.PROJECT_CREATED: "Created the project",
    AccessEventName.PROJECT_CHANGED: "Changed the project",
    AccessEventName.PROJECT_DELETED: "Deleted the project",
    AccessEventName.PERSON_SUSPENDED: "Suspended",
    AccessEventName.PERSON_RESTORED: "Restored",
}
_OF_PEOPLE = (AccessEventName.PERSON_SUSPENDED, AccessEventName.PERSON_RESTORED)


@dataclass(frozen=True, kw_only=True)
class AccessHistoryRow:
    """A change of access: what, why, who and when."""

    at: datetime
    words: str
    reason: str
    actor: NamedActor


def people_in(changes: Sequence[AccessChange]) -> set[str]:
    """Return the people whose rights these changes concern."""
    people = {f"person:{change.subject}" for change in changes if change.event in _OF_PEOPLE}
    for change in changes:
        for grant in (change.before, change.after):
            if grant and grant.get("person"):
                people.add(f"person:{grant['person']}")
    return people


def history_row(
    request: web.Request, change: AccessChange, names: Mapping[str, str]
) -> AccessHistoryRow:
    """Return a change of access. `names` has those of `people_in`."""
    return AccessHistoryRow(
        at=change.at,
        words=_words(change, names),
        reason=change.reason,
        actor=actor_of(request, change.actor, change.actor_name),
    )


def _words(change: AccessChange, names: Mapping[str, str]) -> str:
    """Return a sentence. An event of a later release has its name."""
    verb = _VERBS.get(change.event, change.event.replace("_", " ").capitalize())
    kind, _, _ = change.event.partition("_")
    if change.event in _OF_PEOPLE:
        return f"{verb} {names[f'person:{change.subject}']}"
    link = "to" if change.event == AccessEventName.GRANT_CREATED else "of"
    describe = {
        "grant": lambda grant: _grant(grant, names, link),
        "role": _role,
        "project": _project,
    }
    if kind not in describe:
        return f"{verb}: {change.subject}"
    subject = "" if kind == "grant" else f" {change.subject},"
    contents = [describe[kind](content) for content in (change.before, change.after) if content]
    return f"{verb}{subject} {', now '.join(contents)}"


def _grant(grant: Mapping[str, Any], names: Mapping[str, str], link: str) -> str:
    group = grant.get("group")
    person = names.get(f"person:{grant.get('person')}", "a person")
    holder = f"the group {group}" if group else person
    places = environment_words(grant.get("environments", []))
    where = "all environments" if places == "all" else places
    return f"{grant.get('role')} {link} {holder} in {where}, for {_keys(grant)}"


def _role(role: Mapping[str, Any]) -> str:
    return f"which may {joined_words(role.get('scopes') or ['nothing'])}"


def _project(project: Mapping[str, Any]) -> str:
    return f"of {_keys(project)}, owner group {project.get('owner_group')}"


def _keys(content: Mapping[str, Any]) -> str:
    return Keys.below([content.get("prefix") or ""]).words
