"""`environment`: list, show, create, update and delete environments."""

from typing import Annotated, Any, Literal

import msgspec
import typer

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands, WritingCommand
from app.cli.history import DRY_RUN, report_dry_run, show_properties, tense_of
from app.cli.options import AsJson, At, DryRun, EnvironmentName, Message, Revision, moment
from app.cli.terminal import console, print_json, shortened, show_table
from app.configuration.changes.properties import ProtectionPatch
from app.configuration.changes.requests import EnvironmentPatch, NewEnvironment
from app.configuration.changes.views import AppliedChangeSets
from app.environments.protection import APPROVALS_MAX, protection_words
from app.errors import invalid
from app.http.decoder import parse
from app.settings import Tier

cli = Commands(
    """List, show, create, update and delete environments.

    Works on: the database, or a server with --url. Other servers follow within 2 seconds.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token.
    """,
    is_remote=True,
)

Fractional = Annotated[
    Literal["v2", "v3"] | None,
    typer.Option(
        help="Algorithm of the fractional operator. A change moves users to other variants.",
        metavar="ALGORITHM",
    ),
]
Metadata = Annotated[
    str,
    typer.Option(
        help="Metadata of the flag set, as a JSON object. null removes a member.", metavar="JSON"
    ),
]
Protected = Annotated[
    bool | None,
    typer.Option("--protected/--unprotected", help="Refuse to delete the environment, or not."),
]
Approvals = Annotated[
    int | None,
    typer.Option(
        min=0, max=APPROVALS_MAX, help="Approvals that a change of its keys needs. 0: none."
    ),
]
SelfApproval = Annotated[
    bool | None,
    typer.Option("--self-approval/--no-self-approval", help="Authors may approve their proposals."),
]
Cover = Annotated[
    list[str] | None,
    typer.Option(
        help="Prefix of the keys that need approvals, repeatable. * is every key.", metavar="PREFIX"
    ),
]


@cli.command("list")
def list_environments(*, as_json: AsJson = False) -> None:
    """List every environment.

    Example: python -m app environment list
    """
    environments = run_backend(lambda backend: backend.list_environments())
    if as_json:
        print_json(environments)
        return
    show_table(
        ("name", "tier", "revision", "fractional", "protected", "approvals", "metadata"),
        [
            (
                *(e.name, e.tier, e.revision, e.fractional, _yes(e.protected)),
                *(protection_words(e.protection), shortened(e.metadata)),
            )
            for e in environments
        ],
    )


@cli.command("show")
def show(environment: EnvironmentName, revision: Revision = None, at: At = None) -> None:
    """Print an environment as JSON, in its latest state or an earlier one.

    Example: python -m app environment show local
    """
    state = moment(revision, at)

    print_json(run_backend(lambda backend: backend.get_environment(environment, state)))


@cli.command("update", cls=WritingCommand)
def update(  # noqa: PLR0913 - one for each option
    environment: EnvironmentName,
    metadata: Metadata = "{}",
    fractional: Fractional = None,
    protected: Protected = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Write only if the environment has this version.")
    ] = None,
    message: Message = "",
    *,
    approvals: Approvals = None,
    self_approval: SelfApproval = None,
    cover: Cover = None,
    dry_run: DryRun = False,
) -> None:
    """Change the properties of an environment, as one change set.

    Example:
        python -m app environment update local --metadata '{"owner": "shop"}'
    """
    patch = EnvironmentPatch(
        metadata=_members(metadata),
        fractional=fractional or msgspec.UNSET,
        protected=msgspec.UNSET if protected is None else protected,
        protection=_protection(approvals, self_approval, cover),
        message=message,
    )

    async def write(backend: Backend) -> AppliedChangeSets:
        expected = version or (await backend.get_environment(environment)).version
        return await backend.patch_environment(environment, patch, expected, dry_run=dry_run)

    (result,) = run_backend(write).change_sets
    show_properties(result.properties, tense_of(dry_run=dry_run))
    if dry_run:
        report_dry_run([result])
    else:
        console.print(f"{environment} is at revision {result.revision}")


@cli.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of lower-case letters, digits and -.")],
    tier: Annotated[Tier, typer.Option(help="Tier, a label: what the environment is for.")],
    metadata: Metadata = "{}",
    fractional: Fractional = None,
    message: Message = "",
    *,
    protected: Annotated[bool, typer.Option("--protected", help="Refuse to delete it.")] = False,
) -> None:
    """Create an environment, by one change set.

    Example: python -m app environment create team-a --tier development
    """
    new = NewEnvironment(
        name=name,
        tier=tier.value,
        metadata=_members(metadata),
        fractional=fractional or "v3",
        protected=protected,
        message=message,
    )
    print_json(run_backend(lambda backend: backend.create_environment(new)))


@cli.command("delete")
def delete(
    environment: EnvironmentName,
    version: Annotated[
        int, typer.Option(min=1, help="Version of the environment, as in `environment show`.")
    ],
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Delete an environment with its entries, secrets and tokens.

    Its history stays verifiable.

    Example: python -m app environment delete team-a --version 2
    """
    closed = run_backend(
        lambda backend: backend.delete_environment(environment, version, message, dry_run=dry_run)
    )
    if dry_run:
        console.print(DRY_RUN)
    else:
        console.print(f"{environment} is deleted; its history ends at revision {closed.revision}")


def _protection(
    approvals: int | None,
    self_approval: bool | None,  # noqa: FBT001 - the option of the command
    cover: list[str] | None,
) -> ProtectionPatch | msgspec.UnsetType | None:
    """Return the patch of the options: UNSET without one, None to remove the protection."""
    if approvals == 0:
        if self_approval is not None or cover:
            raise typer.BadParameter("--approvals 0 removes the protection: give no other option")
        return None
    if approvals is None and self_approval is None and not cover:
        return msgspec.UNSET
    return ProtectionPatch(
        approvals=msgspec.UNSET if approvals is None else approvals,
        self_approval=msgspec.UNSET if self_approval is None else self_approval,
        keys=() if cover == ["*"] else tuple(cover) if cover else msgspec.UNSET,
    )


def _yes(value: bool) -> str:  # noqa: FBT001 - its only argument
    return "yes" if value else "no"


def _members(text: str) -> dict[str, Any]:
    members = parse(text.encode())
    if not isinstance(members, dict):
        raise invalid("metadata", "must be an object")
    return members
