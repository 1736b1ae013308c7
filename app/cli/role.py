"""`role`: list, show, create, change and delete roles."""

from typing import Annotated

import typer

from app.access.models import Scope
from app.access.people.views import NewRole, RoleChange, RoleView
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.people_text import Confirmed, Reason, minute
from app.cli.terminal import confirm, console, print_json, show_table

cli = Commands(
    """List, show, create, change and delete roles.

    A role is a named set of scopes. Those that are built in cannot be changed.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Name = Annotated[str, typer.Argument(help="Name of the role.", metavar="NAME")]
_Scopes = Annotated[list[Scope], typer.Option("--scope", help="What it allows, repeatable.")]


@cli.command("list")
def list_roles(*, as_json: AsJson = False) -> None:
    """List all roles: those that are built in, then those of this installation.

    Example: python -m app role list
    """
    roles = run_backend(lambda backend: backend.list_roles())
    if as_json:
        print_json(roles)
        return
    show_table(
        ("name", "scopes", "description", "remarks"),
        [
            (role.name, ", ".join(role.scopes), role.description, ", ".join(_remarks(role)))
            for role in roles
        ],
    )


@cli.command()
def show(name: _Name, *, as_json: AsJson = False) -> None:
    """Show a role.

    Example: python -m app role show editor
    """
    role = run_backend(lambda backend: backend.get_role(name))
    if as_json:
        print_json(role)
        return
    rows = (
        ("scopes", ", ".join(role.scopes)),
        ("description", role.description or "-"),
        ("version", str(role.version)),
        ("created", f"{minute(role.created_at)} by {role.created_by_name or '-'}"),
        ("changed", minute(role.updated_at)),
        ("remarks", ", ".join(_remarks(role)) or "-"),
    )
    show_table(("name", role.name), rows)


@cli.command()
def create(
    name: _Name,
    scope: _Scopes,
    description: Annotated[str, typer.Option(help="Purpose of the role.", metavar="TEXT")] = "",
    reason: Reason = "",
) -> None:
    """Create a role.

    Example: python -m app role create releaser --scope read --scope publish
    """
    new = NewRole(name=name, scopes=scope, description=description, reason=reason)
    role = run_backend(lambda backend: backend.create_role(new))
    console.print(f"created {role.name}: {', '.join(role.scopes)}")


@cli.command("set")
def change(
    name: _Name,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="All that it allows, repeatable; as now by default."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="New purpose; as now by default.", metavar="TEXT")
    ] = None,
    reason: Reason = "",
    confirmed: Confirmed = None,
) -> None:
    """Change a role. Its holders have the new scopes within a second.

    Taking scopes away needs the name of the role again.

    Example: python -m app role set releaser --scope read --scope write --scope publish
    """

    async def write(backend: Backend) -> RoleView:
        role = await backend.get_role(name)
        scopes = scope or [Scope(item) for item in role.scopes]
        if lost := sorted({*role.scopes} - {*scopes}):
            confirm(name, confirmed, f"take {', '.join(lost)} from all holders of the role")
        new = RoleChange(
            scopes=scopes,
            description=role.description if description is None else description,
            reason=reason,
        )
        return await backend.change_role(name, new, role.version)

    role = run_backend(write)
    console.print(f"changed {role.name}: {', '.join(role.scopes)}")


@cli.command()
def delete(name: _Name, reason: Reason = "", confirmed: Confirmed = None) -> None:
    """Delete a role that no grant has.

    Example: python -m app role delete releaser --confirm releaser
    """
    confirm(name, confirmed, "delete the role")

    async def write(backend: Backend) -> None:
        await backend.delete_role(name, (await backend.get_role(name)).version, reason)

    run_backend(write)
    console.print(f"deleted {name}")


def _remarks(role: RoleView) -> list[str]:
    return [*(["built in"] if role.built_in else []), *role.remarks]
