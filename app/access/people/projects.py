"""Create, list, change and delete projects. Administrators see those within their own keys."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from app.access.actors import actor_names
from app.access.delegation import reaches, reaches_anywhere
from app.access.models import EVERY_ENVIRONMENT
from app.access.people.book import GrantBook
from app.access.people.edit import AccessEdit, AccessEventName, check_group, check_text
from app.access.people.grants import remarks
from app.access.people.models import Project
from app.access.people.rows import project_of
from app.access.people.signatures import RowSigner
from app.access.people.views import (
    DESCRIPTION_MAX,
    NewProject,
    ProjectChange,
    ProjectView,
)
from app.access.permissions import Rights
from app.access.refusals import BY_ADMINISTRATOR
from app.database import Connection, sql
from app.errors import Conflict, Forbidden, NotFound, Stale, Violation, invalid
from app.http.conditions import ExpectedVersion
from app.names import ENVIRONMENT_RULE, is_environment, is_stored_key
from app.settings import Secret

PROJECTS_MAX = 1_000
PREFIX_RULE = "must begin with a letter, a digit or _, and hold only letters, digits and . _ / -"
_UNKNOWN = "project_unknown"


async def list_visible(connection: Connection, rights: Rights) -> list[Project]:
    """Return the projects whose prefix is within the keys of an administrator."""
    projects = [project_of(row) async for row in sql.list_projects(connection)]
    return [project for project in projects if reaches_anywhere(rights, project.prefix)]


async def get(connection: Connection, rights: Rights, name: str) -> Project:
    """Return a project that is visible with these rights. Raises NotFound for any other."""
    for project in await list_visible(connection, rights):
        if project.name == name:
            return project
    raise NotFound(_UNKNOWN, "There is no such project.")


async def create(edit: AccessEdit, new: NewProject) -> Project:
    """Store a project. Raises Invalid, Forbidden and Conflict, naming the field."""
    if not is_environment(new.name):
        raise invalid("name", ENVIRONMENT_RULE)
    if not is_stored_key(new.prefix):
        raise invalid("prefix", PREFIX_RULE)
    check_text("reason", new.reason)
    now = datetime.now(UTC)
    project = edit.signer.signed(
        Project(
            name=new.name,
            prefix=new.prefix,
            owner_group=new.owner_group,
            description=new.description,
            version=1,
            created_by=edit.origin.actor,
            created_at=now,
            updated_at=now,
        )
    )
    await edit.lock()
    _check(edit, project)
    projects = [project_of(row) async for row in sql.list_projects(edit.connection)]
    _check_new(project, projects)
    await sql.insert_project(
        edit.connection,
        name=project.name,
        mac=project.mac,
        prefix=project.prefix,
        owner_group=project.owner_group,
        description=project.description,
        created_by=project.created_by,
        at=now,
    )
    await _record(edit, AccessEventName.PROJECT_CREATED, new.reason, after=project)
    return project


async def change(
    edit: AccessEdit, name: str, changed: ProjectChange, *, expected: ExpectedVersion
) -> Project:
    """Change the owner group or the description.

    Raises NotFound, Stale, Invalid, Forbidden, and Conflict for a row changed by hand.
    """
    check_text("reason", changed.reason)
    await edit.lock()
    before = await _get_changeable(edit, name, expected)
    if not edit.signer.accepts(before):
        # A forged prefix or owner group would become valid.
        raise Conflict(
            "project_unsigned",
            "The row of this project was changed outside of the service, so it is ignored. An "
            "operator can check and sign it, or delete the project and create it again.",
        )
    fields = {"owner_group": changed.owner_group, "description": changed.description}
    given = {field: text for field, text in fields.items() if text is not msgspec.UNSET}
    after = replace(before, **given)  # type: ignore[arg-type]  # the types of the struct
    _check(edit, after)
    await sql.update_project(
        edit.connection,
        name=name,
        mac=edit.signer.signed(after).mac,
        owner_group=after.owner_group,
        description=after.description,
    )
    await _record(edit, AccessEventName.PROJECT_CHANGED, changed.reason, before=before, after=after)
    return await get(edit.connection, edit.rights, name)


async def delete(
    edit: AccessEdit, name: str, *, expected: ExpectedVersion, reason: str = ""
) -> Project:
    """Delete a project, and return it. Grants for its keys stay. Raises NotFound and Stale."""
    check_text("reason", reason)
    # This removes no administrator of everything: the prefix of a project is never empty.
    await edit.lock()
    project = await _get_changeable(edit, name, expected)
    await sql.delete_project(edit.connection, name=name)
    await _record(edit, AccessEventName.PROJECT_DELETED, reason, before=project)
    return project


async def project_views(
    connection: Connection, key: Secret, projects: Iterable[Project]
) -> list[ProjectView]:
    """Return projects with the names of their authors."""
    signer, projects = RowSigner(key), list(projects)
    names = await actor_names(connection, [project.created_by for project in projects])
    return [
        ProjectView(
            name=project.name,
            prefix=project.prefix,
            owner_group=project.owner_group,
            description=project.description,
            version=project.version,
            created_by=project.created_by,
            created_by_name=names[project.created_by],
            created_at=project.created_at,
            updated_at=project.updated_at,
            remarks=remarks(is_genuine=signer.accepts(project)),
        )
        for project in projects
    ]


async def _get_changeable(edit: AccessEdit, name: str, expected: ExpectedVersion) -> Project:
    """Return a project that the author administers. Raises NotFound, Forbidden and Stale."""
    project = await get(edit.connection, edit.rights, name)
    if not reaches(edit.rights, [EVERY_ENVIRONMENT], [project.prefix]):
        raise Forbidden(
            "environment_foreign",
            "This needs the scope admin for the keys of the project in all environments. "
            f"{BY_ADMINISTRATOR}",
        )
    if not expected.is_met(project.version, ""):
        raise Stale("The project was changed meanwhile.", version=project.version, epoch="")
    return project


def _check(edit: AccessEdit, project: Project) -> None:
    """Check the texts, and that the author may give the rights of the owner group."""
    check_group("owner_group", project.owner_group)
    check_text("description", project.description, DESCRIPTION_MAX)
    # The role of the owners is built in.
    edit.check_own(GrantBook().given(project.ownership))


def _check_new(project: Project, existing: list[Project]) -> None:
    if len(existing) >= PROJECTS_MAX:
        message = f"The limit of {PROJECTS_MAX} projects is reached. Delete one first."
        raise Conflict("projects_full", message)
    if any(project.name == other.name for other in existing):
        violation = Violation("name", "must not be the name of an existing project")
        raise Conflict("project_taken", "A project of this name exists.", [violation])
    if any(project.prefix == other.prefix for other in existing):
        violation = Violation("prefix", "must not be the prefix of an existing project")
        raise Conflict("prefix_taken", "A project with this prefix exists.", [violation])


async def _record(
    edit: AccessEdit,
    event: AccessEventName,
    reason: str,
    *,
    before: Project | None = None,
    after: Project | None = None,
) -> None:
    project = after or before
    assert project is not None  # noqa: S101 - for mypy: one of them is given
    await edit.record(
        event,
        project.name,
        reason=reason,
        before=described(before),
        after=described(after),
        environments=[EVERY_ENVIRONMENT],
        prefix=project.prefix,
    )


def described(project: Project | None) -> dict[str, object] | None:
    """Return a project for the history."""
    if project is None:
        return None
    return {
        "prefix": project.prefix,
        "owner_group": project.owner_group,
        "description": project.description,
    }
