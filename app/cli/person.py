"""`person`: list and show people, and suspend and restore them."""

from typing import Annotated

import typer

from app.access.people.grants import GrantFilter
from app.access.people.models import person_id_of
from app.access.people.views import GrantView, PersonView, ProjectView
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.people_text import Confirmed, Reason, environments_words, keys_words, minute
from app.cli.terminal import confirm, console, print_json, show_table

cli = Commands(
    """List and show people, and suspend and restore them.

    A person is added by the first sign-in, and is never deleted: the history names them. Groups
    come from the identity provider.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Id = Annotated[
    str,
    typer.Argument(
        help="ID of the person, as in `person list`, or person:ID.",
        metavar="ID",
        callback=person_id_of,
    ),
]


@cli.command("list")
def list_people(
    search: Annotated[
        str | None, typer.Option(help="A part of the name or the e-mail address.", metavar="TEXT")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Members of this group.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the people who have signed in.

    Example: python -m app person list
    """
    people = run_backend(lambda backend: backend.list_people(search, group))
    if as_json:
        print_json(people)
        return
    show_table(
        ("id", "name", "e-mail", "groups", "last sign-in", "remarks"),
        [
            (
                *(person.id, person.name, person.email or "-", ", ".join(person.groups) or "-"),
                *(minute(person.last_sign_in_at), ", ".join(_remarks(person))),
            )
            for person in people
        ],
    )


@cli.command()
def show(person_id: _Id, *, as_json: AsJson = False) -> None:
    """Show a person, and the roles that they hold.

    Example: python -m app person show ID
    """

    async def read(
        backend: Backend,
    ) -> tuple[PersonView, list[GrantView], list[ProjectView]]:
        person = await backend.get_person(person_id)
        grants = await backend.list_grants(GrantFilter())
        return person, grants, await backend.list_projects()

    person, grants, projects = run_backend(read)
    held = [grant for grant in grants if grant.person == person.id or grant.group in person.groups]
    owned = [project for project in projects if project.owner_group in person.groups]
    if as_json:
        print_json({"person": person, "grants": held, "projects": owned})
        return
    rows = (
        ("name", person.name),
        ("e-mail", person.email or "-"),
        ("issuer", person.issuer),
        ("subject", person.subject),
        ("groups", ", ".join(person.groups) or "-"),
        ("first sign-in", minute(person.first_sign_in_at)),
        ("last sign-in", minute(person.last_sign_in_at)),
        ("claims of", minute(person.claims_at)),
        ("remarks", ", ".join(_remarks(person)) or "-"),
    )
    show_table(("id", person.id), rows)
    console.print()
    show_table(
        ("role", "environments", "keys", "via", "reason"),
        [
            *(
                (
                    *(grant.role, environments_words(grant.environments)),
                    *(keys_words(grant.prefix), _via(grant), grant.reason),
                )
                for grant in held
            ),
            *(
                (
                    *("admin", "all environments", project.prefix),
                    *(f"project {project.name}", f"group {project.owner_group} owns it"),
                )
                for project in owned
            ),
        ],
        "Roles",
    )


@cli.command()
def suspend(person_id: _Id, reason: Reason, confirmed: Confirmed = None) -> None:
    """Suspend a person: end their sessions everywhere, and refuse their sign-in.

    Their tokens stay valid: a token belongs to no person.

    Example: python -m app person suspend ID --reason "left the company" --confirm ID
    """
    confirm(person_id, confirmed, "suspend the person")
    person = run_backend(lambda backend: backend.suspend_person(person_id, reason))
    console.print(f"suspended {person.name} ({person.id})")


@cli.command()
def restore(person_id: _Id, reason: Reason) -> None:
    """Let a suspended person sign in again.

    Example: python -m app person restore ID --reason "is back"
    """
    person = run_backend(lambda backend: backend.restore_person(person_id, reason))
    console.print(f"restored {person.name} ({person.id})")


def _remarks(person: PersonView) -> list[str]:
    since = person.suspended_at
    return [*([f"suspended {minute(since)}"] if since else []), *person.remarks]


def _via(grant: GrantView) -> str:
    return "-" if grant.group is None else f"group {grant.group}"
