"""`project`: list, show, create, change and delete projects."""

from typing import Annotated

import typer
from msgspec import UNSET

from app.access.people.grants import GrantFilter
from app.access.people.views import GrantView, NewProject, ProjectChange, ProjectView
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.people_text import Confirmed, Reason, advise_on, minute, show_grants
from app.cli.terminal import confirm, console, print_json, show_table

cli = Commands(
    """List, show, create, change and delete projects.

    A project is a key prefix with an owner group. The group holds the role admin for these keys in
    all environments.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Name = Annotated[str, typer.Argument(help="Name of the project.", metavar="NAME")]


@cli.command("list")
def list_projects(*, as_json: AsJson = False) -> None:
    """List all projects.

    Example: python -m app project list
    """
    projects = run_backend(lambda backend: backend.list_projects())
    if as_json:
        print_json(projects)
        return
    show_table(
        ("name", "prefix", "owner group", "description", "remarks"),
        [
            (
                *(project.name, project.prefix, project.owner_group, project.description or "-"),
                ", ".join(project.remarks),
            )
            for project in projects
        ],
    )


@cli.command()
def show(name: _Name, *, as_json: AsJson = False) -> None:
    """Show a project, and the grants for its keys.

    Example: python -m app project show payments
    """

    async def read(backend: Backend) -> tuple[ProjectView, list[GrantView]]:
        project = await backend.get_project(name)
        return project, await backend.list_grants(GrantFilter(project=name))

    project, grants = run_backend(read)
    if as_json:
        print_json({"project": project, "grants": grants})
        return
    rows = (
        ("prefix", project.prefix),
        ("owner group", project.owner_group),
        ("description", project.description or "-"),
        ("version", str(project.version)),
        ("created", f"{minute(project.created_at)} by {project.created_by_name}"),
        ("changed", minute(project.updated_at)),
        ("remarks", ", ".join(project.remarks) or "-"),
    )
    show_table(("name", project.name), rows)
    console.print()
    show_grants(grants, "Grants")


@cli.command()
def create(
    name: _Name,
    prefix: Annotated[str, typer.Option(help="The keys of the project begin with this.")],
    owner_group: Annotated[str, typer.Option(help="The group that owns it.")],
    description: Annotated[str, typer.Option(help="Purpose of the project.", metavar="TEXT")] = "",
    reason: Reason = "",
) -> None:
    """Create a project.

    Example: python -m app project create payments --prefix payments/ --owner-group payments-team
    """
    advise_on(prefix)
    new = NewProject(
        name=name, prefix=prefix, owner_group=owner_group, description=description, reason=reason
    )
    project = run_backend(lambda backend: backend.create_project(new))
    console.print(f"created {_words(project)}")


@cli.command("set")
def change(
    name: _Name,
    owner_group: Annotated[str | None, typer.Option(help="The new owner group.")] = None,
    description: Annotated[
        str | None, typer.Option(help="The new purpose.", metavar="TEXT")
    ] = None,
    reason: Reason = "",
    confirmed: Confirmed = None,
) -> None:
    """Change the owner group or the description of a project.

    Changing the group needs the name of the project again, because the old group loses its rights.

    Example: python -m app project set payments --description "Cards and invoices"
    """
    if owner_group is None and description is None:
        raise typer.BadParameter("give --owner-group or --description")

    async def write(backend: Backend) -> ProjectView:
        project = await backend.get_project(name)
        if owner_group not in {None, project.owner_group}:
            confirm(name, confirmed, f"take the project from the group {project.owner_group}")
        new = ProjectChange(
            owner_group=UNSET if owner_group is None else owner_group,
            description=UNSET if description is None else description,
            reason=reason,
        )
        return await backend.change_project(name, new, project.version)

    console.print(f"changed {_words(run_backend(write))}")


@cli.command()
def delete(name: _Name, reason: Reason = "", confirmed: Confirmed = None) -> None:
    """Delete a project. Its keys and the grants for them stay.

    Example: python -m app project delete payments --confirm payments
    """
    confirm(name, confirmed, "delete the project, which takes the rights of its owner group")

    async def write(backend: Backend) -> None:
        await backend.delete_project(name, (await backend.get_project(name)).version, reason)

    run_backend(write)
    console.print(f"deleted {name}")


def _words(project: ProjectView) -> str:
    return f"{project.name}: {project.owner_group} owns keys with the prefix {project.prefix}"
