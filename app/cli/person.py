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
from app.errors import Conflict, NotFound

cli = Commands(
    """List and show people, and suspend and restore them.

    The first sign-in adds a person. A person is never deleted, because the history names them.
    Groups come from the identity provider.

    Works on: the database, or a server with --url. Other servers follow within a second.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token with the scope admin.
    """,
    is_remote=True,
)

_Person = Annotated[
    str,
    typer.Argument(
        help="E-mail address of the person, or their ID as in `person list`, or person:ID.",
        metavar="PERSON",
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
def show(named: _Person, *, as_json: AsJson = False) -> None:
    """Show a person, and the roles that they hold.

    Example: python -m app person show asha@example.org
    """

    async def read(
        backend: Backend,
    ) -> tuple[PersonView, list[GrantView], list[ProjectView]]:
        person = await backend.get_person(await _id_of(backend, named))
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
        ("claims read", minute(person.claims_at)),
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
def suspend(named: _Person, reason: Reason, confirmed: Confirmed = None) -> None:
    """Suspend a person: end their sessions everywhere, and refuse their sign-in.

    Their tokens stay valid: a token belongs to no person.

    Example: python -m app person suspend ID --reason "left the company" --confirm ID
    """

    async def change(backend: Backend) -> PersonView:
        person = await backend.get_person(await _id_of(backend, named))
        # A provider may let people choose their address, so it names no one alone.
        confirm(named, confirmed, f"suspend {person.name} ({person.id}, from {person.issuer})")
        return await backend.suspend_person(person.id, reason)

    person = run_backend(change)
    console.print(f"suspended {person.name} ({person.id})")


@cli.command()
def restore(named: _Person, reason: Reason) -> None:
    """Let a suspended person sign in again.

    Example: python -m app person restore ID --reason "is back"
    """

    async def change(backend: Backend) -> PersonView:
        return await backend.restore_person(await _id_of(backend, named), reason)

    person = run_backend(change)
    console.print(f"restored {person.name} ({person.id})")


async def _id_of(backend: Backend, named: str) -> str:
    """Return the ID of a person. Raises NotFound and Conflict for an e-mail address.

    An address is no identity: two providers may give the same one to two people.
    """
    if "@" not in named:
        return named
    found = await backend.list_people(named, None)
    people = [person for person in found if person.email.lower() == named.lower()]
    if not people:
        raise NotFound("person_unknown", f"No person has the e-mail address {named}.")
    if len(people) > 1:
        listed = "; ".join(f"{person.id} ({person.issuer})" for person in people)
        text = f"{len(people)} people have this e-mail address. Give an ID: {listed}."
        raise Conflict("email_ambiguous", text)
    return people[0].id


def _remarks(person: PersonView) -> list[str]:
    since = person.suspended_at
    return [*([f"suspended {minute(since)}"] if since else []), *person.remarks]


def _via(grant: GrantView) -> str:
    return "-" if grant.group is None else f"group {grant.group}"
