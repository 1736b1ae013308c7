"""`grant`: list, create and revoke the roles of people and groups."""

from typing import Annotated

import typer

from app.access.people.edit import AccessEventName
from app.access.people.grants import GrantFilter
from app.access.people.views import AccessChange, GrantView, NewGrant
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.people_text import (
    Confirmed,
    Reason,
    advise_on,
    change_words,
    grant_words,
    holder_words,
    keys_words,
    minute,
    show_grants,
)
from app.cli.terminal import confirm, console, print_json, show_table

cli = Commands(
    """List, create and revoke grants: the roles of people and groups.

    A grant gives a role in environments for the keys with a prefix.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Person = Annotated[str | None, typer.Option(help="ID of a person, or person:ID.", metavar="ID")]
_Group = Annotated[str | None, typer.Option(help="Name of a group.")]


@cli.command("list")
def list_grants(
    person: _Person = None,
    group: _Group = None,
    role: Annotated[str | None, typer.Option(help="Grants of this role.")] = None,
    environment: Annotated[str | None, typer.Option(help="Grants that include it.")] = None,
    project: Annotated[str | None, typer.Option(help="Grants within this project.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List grants, the latest first.

    Example: python -m app grant list
    """
    matching = GrantFilter(
        person=person, group=group, role=role, environment=environment, project=project
    )
    grants = run_backend(lambda backend: backend.list_grants(matching))
    grants.sort(key=lambda grant: grant.created_at, reverse=True)
    if as_json:
        print_json(grants)
    else:
        show_grants(grants)


@cli.command()
def create(
    role: Annotated[str, typer.Argument(help="Name of the role, as in `role list`.")],
    reason: Reason,
    person: _Person = None,
    group: _Group = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Environment, repeatable, * for all. Required.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="For the keys that begin with this; all keys by default.")
    ] = "",
) -> None:
    r"""Give a person or a group a role.

    Example:
        python -m app grant create editor --group platform --environment local \
            --prefix payments/ --reason "owns payments"
    """
    if (person is None) == (group is None):
        raise typer.BadParameter("give --person ID or --group NAME")
    if not environment:
        raise typer.BadParameter("give --environment NAME, repeatable, or * for all of them")
    advise_on(prefix)
    new = NewGrant(
        person=person,
        group=group,
        role=role,
        environments=environment,
        prefix=prefix,
        reason=reason,
    )
    grant = run_backend(lambda backend: backend.create_grant(new))
    console.print(f"{grant.id}: {holder_words(grant)} is {grant_words(grant)}")


@cli.command()
def revoke(
    grant_id: Annotated[
        str, typer.Argument(help="ID of the grant, as in `grant list`.", metavar="ID")
    ],
    reason: Reason,
    confirmed: Confirmed = None,
) -> None:
    """Revoke a grant. Every instance refuses its holder within a second.

    Example: python -m app grant revoke ID --reason "moved to another team" --confirm ID
    """

    async def write(backend: Backend) -> GrantView:
        grant = await backend.get_grant(grant_id)
        confirm(grant_id, confirmed, f"take from {holder_words(grant)}: {grant_words(grant)}")
        await backend.revoke_grant(grant_id, reason)
        return grant

    grant = run_backend(write)
    console.print(f"revoked {grant.id}: {holder_words(grant)} was {grant_words(grant)}")


@cli.command()
def history(
    subject: Annotated[
        str | None,
        typer.Option(help="ID of a grant or a person, or name of a role or a project."),
    ] = None,
    event: Annotated[AccessEventName | None, typer.Option(help="Changes of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The latest changes.")] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Show who changed grants, roles, projects and suspensions, when and why.

    Example: python -m app grant history
    """
    changes: list[AccessChange] = run_backend(
        lambda backend: backend.list_access_changes(event, subject, limit=limit)
    )
    if as_json:
        print_json(changes)
        return
    show_table(
        ("at", "by", "event", "subject", "keys", "change", "reason"),
        [
            (
                *(minute(change.at), change.actor_name or change.actor),
                *(change.event.replace("_", " "), change.subject),
                "-" if change.prefix is None else keys_words(change.prefix),
                *(change_words(change), change.reason),
            )
            for change in changes
        ],
    )
