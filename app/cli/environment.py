"""`environment`: what there is, what each says of itself, and how to make or delete one."""

from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.table import Table

from app.access.local_credentials import token_key
from app.cli.actor import operator, origin
from app.cli.history import At, DryRun, Environment, Message, moment, show_properties
from app.cli.terminal import console
from app.configuration.changes import administration, writes
from app.configuration.changes.administration import record_administration, record_creation
from app.configuration.changes.history import environment_at
from app.configuration.changes.intents import patch_of
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import NewEnvironment, NewPatch
from app.configuration.changes.views import MadeChangeSets
from app.database import Connection
from app.environments import models, service
from app.errors import invalid
from app.http.conditions import ExpectedVersion
from app.http.decoder import parse
from app.http.dry_run import transact
from app.scripts import Resources, run_script
from app.settings import Tier

cli = typer.Typer(help="List, describe, make and delete environments.", no_args_is_help=True)

Fractional = Annotated[
    Literal["v2", "v3"] | None, typer.Option(help="The generation of bucketing; moves every user.")
]
Metadata = Annotated[
    str, typer.Option(help="Members for the flag set, as a JSON object; one that is null goes.")
]
Protected = Annotated[
    bool | None, typer.Option("--protected/--unprotected", help="Whether it must stay.")
]


@cli.command("list")
def list_environments() -> None:
    """List every environment."""

    async def work(resources: Resources) -> list[models.Environment]:
        async with resources.database.connection() as connection:
            return await service.list_all(connection)

    table = Table("name", "tier", "revision", "bucketing", "protected", "metadata")
    for each in run_script(work):
        protected = "yes" if each.protected else "no"
        metadata = msgspec.json.encode(each.metadata).decode()
        shown = metadata if len(metadata) <= 60 else metadata[:59] + "…"
        table.add_row(each.name, each.tier, str(each.revision), each.fractional, protected, shown)
    console.print(table)


@cli.command("show")
def show(
    environment: Environment,
    revision: Annotated[
        int | None, typer.Option(min=0, help="As of this revision, instead of now.")
    ] = None,
    at: At = None,
) -> None:
    """Print one environment as JSON, now or as it was."""
    wanted = moment(revision, at)

    async def work(resources: Resources) -> models.Environment:
        async with resources.database.connection() as connection:
            if wanted is None:
                return await service.get(connection, environment)
            return await environment_at(connection, environment, wanted)

    _print(run_script(work))


@cli.command("update")
def update(
    environment: Environment,
    metadata: Metadata = "{}",
    fractional: Fractional = None,
    protected: Protected = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Write only at this version of the environment.")
    ] = None,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Change what an environment says of itself, as one change set."""

    async def work(resources: Resources) -> MadeChangeSets:
        wanted = NewPatch(
            metadata=_members(metadata),
            fractional=fractional or msgspec.UNSET,
            protected=msgspec.UNSET if protected is None else protected,
        )
        expected = None if version is None else ExpectedVersion(version=version)
        patch = patch_of(wanted, expected)

        async def change(connection: Connection) -> MadeChangeSets:
            intents = {environment: Intent(patch=patch)}
            made = await writes.apply(connection, intents, actor=operator(), message=message)
            await record_administration(connection, resources.access_log, made, origin())
            return made

        return await transact(resources.database, change, dry_run=dry_run)

    (made,) = run_script(work).change_sets
    show_properties(made.properties)
    if dry_run:
        console.print("dry run: nothing was written")
    else:
        console.print(f"{environment} is at revision {made.revision}")


@cli.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and -.")],
    tier: Annotated[Tier, typer.Option(help="What it is for.")],
    metadata: Metadata = "{}",
    fractional: Fractional = None,
    message: Message = "",
    *,
    protected: Annotated[bool, typer.Option("--protected", help="It must stay.")] = False,
) -> None:
    """Make an environment, with one change set that says who did."""

    async def work(resources: Resources) -> models.Environment:
        wanted = NewEnvironment(
            name=name,
            tier=tier.value,
            metadata=_members(metadata),
            fractional=fractional or "v3",
            protected=protected,
            message=message,
        )

        async def make(connection: Connection) -> models.Environment:
            made = await writes.create_environment(connection, wanted, actor=operator())
            await record_creation(connection, resources.access_log, made, origin())
            return made

        return await resources.database.transact(make)

    _print(run_script(work))


@cli.command("delete")
def delete(
    environment: Environment,
    version: Annotated[
        int, typer.Option(min=1, help="Delete only at this version, which `show` prints.")
    ],
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Delete an environment: its entries, its secrets and its tokens. Its history can be proven."""

    async def work(resources: Resources) -> models.Environment:
        key = token_key(resources.settings)
        return await transact(
            resources.database,
            lambda c: administration.delete_environment(
                c,
                resources.access_log,
                key=key,
                name=environment,
                expected=ExpectedVersion(version=version),
                message=message,
                origin=origin(),
            ),
            dry_run=dry_run,
        )

    closed = run_script(work)
    if dry_run:
        console.print("dry run: nothing was written")
    else:
        console.print(f"{environment} is deleted; its history ends at revision {closed.revision}")


def _members(text: str) -> dict[str, Any]:
    members = parse(text.encode())
    if not isinstance(members, dict):
        raise invalid("metadata", "must be an object")
    return members


def _print(environment: models.Environment) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(environment)).decode())
