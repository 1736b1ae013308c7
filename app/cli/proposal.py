"""`proposal`: propose changes, and review, schedule and apply them."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.access.actors import distinct_names
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands
from app.cli.options import AsJson, EnvironmentName, Message, local_time
from app.cli.proposal_text import show_proposal, show_step
from app.cli.terminal import console, print_json, show_table
from app.configuration.changes.requests import NewChangeSet
from app.configuration.proposals.requests import (
    EXPIRES_AFTER_SECONDS,
    EXPIRES_AFTER_SECONDS_MAX,
    NewProposal,
    ProposalPatch,
    ProposalSchedule,
)
from app.configuration.proposals.states import UNDECIDED, ProposalState
from app.configuration.proposals.views import ProposalView
from app.http.decoder import decode

cli = Commands(
    """Propose changes, and review, schedule and apply them.

    A protected environment takes a change only as a proposal that others have approved, or as an
    emergency. Commands that write have the option --propose.

    Works on: the database, or a server with --url.

    Needs: the settings of the service, in the environment or .env. With --url: a token.
    """,
    is_remote=True,
)
_Id = Annotated[int, typer.Argument(help="ID of the proposal.", metavar="ID", min=1)]
_File = Annotated[
    str, typer.Argument(help="File with operations, or - for standard input.", metavar="FILE")
]
_Text = Annotated[str, typer.Option("--text", "-t", help="Text for the conversation.")]
_Title = Annotated[str, typer.Option(help="What the change is for, in one line.")]
_Version = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse if the proposal has another version; the latest by default."),
]


@cli.command("list")
def list_proposals(
    environment: Annotated[
        str | None, typer.Option(help="Those of this environment; all by default.")
    ] = None,
    state: Annotated[
        list[ProposalState] | None,
        typer.Option(help="State, repeatable; all that are not applied or withdrawn by default."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List proposals, the latest first.

    Example: python -m app proposal list
    """
    states = state or sorted(UNDECIDED)
    proposals = run_backend(lambda backend: backend.list_proposals(states, environment))
    if as_json:
        print_json(proposals)
        return
    names = distinct_names((item.author, item.author_name) for item in proposals)
    show_table(
        ("id", "state", "title", "environments", "author", "changed"),
        [
            (
                *(item.id, item.state, item.title, ", ".join(item.environments)),
                names[item.author],
                f"{item.updated_at:%Y-%m-%d %H:%M}",
            )
            for item in proposals
        ],
    )


@cli.command()
def show(proposal_id: _Id, *, as_json: AsJson = False) -> None:
    """Show what a proposal would change, its approvals and its conversation.

    Example: python -m app proposal show 1
    """
    proposal = run_backend(lambda backend: backend.get_proposal(proposal_id))
    if as_json:
        print_json(proposal)
    else:
        show_proposal(proposal)


@cli.command()
def create(
    environment: EnvironmentName,
    file: _File,
    title: _Title,
    message: Message = "",
    *,
    draft: Annotated[
        bool, typer.Option("--draft", help="Do not submit it yet, and check only its format.")
    ] = False,
) -> None:
    """Propose the change set of a file.

    The file has the form of `configuration apply`. It is tried: what a write would refuse is
    refused here too.

    Example:
        python -m app proposal create development changes.json --title "Add a"
    """
    body = _read(file)
    new = NewProposal(
        title=title,
        message=message or body.message,
        environment=environment,
        operations=body.operations,
        draft=draft,
    )
    show_step(run_backend(lambda backend: backend.create_proposal(new)))


@cli.command()
def edit(
    proposal_id: _Id,
    file: Annotated[
        str | None,
        typer.Argument(help="File with the new operations, or - for standard input."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="The new title.")] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="The new message for the history.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="Environment of the operations that name none.")
    ] = None,
    version: _Version = None,
) -> None:
    """Edit a proposal. Its approvals and its schedule end.

    Example: python -m app proposal edit 1 --title "Add a, for all"
    """
    patch = ProposalPatch(
        title=msgspec.UNSET if title is None else title,
        message=msgspec.UNSET if message is None else message,
        environment=environment,
        operations=msgspec.UNSET if file is None else _read(file).operations,
    )
    if patch == ProposalPatch(environment=environment):
        raise typer.BadParameter("give a file, --title or --message")

    async def write(backend: Backend) -> ProposalView:
        current = await _version(backend, proposal_id, version)
        return await backend.edit_proposal(proposal_id, patch, current)

    show_step(run_backend(write))


@cli.command()
def submit(proposal_id: _Id, text: _Text = "") -> None:
    """Submit a draft for approval.

    Example: python -m app proposal submit 2
    """
    show_step(run_backend(lambda backend: backend.submit_proposal(proposal_id, text)))


@cli.command()
def approve(proposal_id: _Id, text: _Text = "", version: _Version = None) -> None:
    """Approve a proposal. Its authors cannot, unless the environment allows it.

    Example: python -m app proposal approve 1 --version 2
    """

    async def write(backend: Backend) -> ProposalView:
        current = await _version(backend, proposal_id, version)
        return await backend.approve_proposal(proposal_id, text, current)

    show_step(run_backend(write))


@cli.command()
def reject(
    proposal_id: _Id,
    reason: Annotated[str, typer.Option(help="What must change before it is submitted again.")],
) -> None:
    """Reject a proposal. It can be edited and submitted again.

    Example: python -m app proposal reject 2 --reason "Not now"
    """
    show_step(run_backend(lambda backend: backend.reject_proposal(proposal_id, reason)))


@cli.command()
def comment(
    proposal_id: _Id, text: Annotated[str, typer.Argument(help="Text for the conversation.")]
) -> None:
    """Comment on a proposal.

    Example: python -m app proposal comment 1 "Is 1 enough?"
    """
    show_step(run_backend(lambda backend: backend.comment_on_proposal(proposal_id, text)))


@cli.command()
def withdraw(proposal_id: _Id, text: _Text = "") -> None:
    """Withdraw a proposal. Only its authors and administrators may.

    Example: python -m app proposal withdraw 2
    """
    show_step(run_backend(lambda backend: backend.withdraw_proposal(proposal_id, text)))


@cli.command()
def schedule(
    proposal_id: _Id,
    at: Annotated[
        datetime | None, typer.Option(help="Time to apply it, in this machine's time zone.")
    ] = None,
    expires_after_seconds: Annotated[
        int,
        typer.Option(
            min=0,
            max=EXPIRES_AFTER_SECONDS_MAX,
            help="Seconds after that time until it fails, if it cannot be applied.",
        ),
    ] = EXPIRES_AFTER_SECONDS,
    version: _Version = None,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the schedule.")] = False,
) -> None:
    """Apply an approved proposal at a time, or end its schedule.

    The clock of the database decides. The proposal fails if the token that scheduled it may no
    longer write then.

    Example: python -m app proposal schedule 1 --at "2030-01-01 09:00:00"
    """
    if cancel == (at is not None):
        raise typer.BadParameter("give --at or --cancel")
    body = ProposalSchedule(
        apply_at=None if at is None else local_time(at),
        expires_after_seconds=expires_after_seconds,
    )

    async def write(backend: Backend) -> ProposalView:
        current = await _version(backend, proposal_id, version)
        return await backend.schedule_proposal(proposal_id, body, current)

    show_step(run_backend(write))


@cli.command()
def apply(proposal_id: _Id, text: _Text = "", version: _Version = None) -> None:
    """Apply a proposal now.

    It writes one change set in each of its environments, in one transaction.

    Example: python -m app proposal apply 1
    """

    async def write(backend: Backend) -> ProposalView:
        current = await _version(backend, proposal_id, version)
        return await backend.apply_proposal(proposal_id, text, current)

    proposal = run_backend(write)
    show_step(proposal)
    for name, revision in (proposal.applied or {}).items():
        console.print(f"{name} is at revision {revision}")


async def _version(backend: Backend, proposal_id: int, version: int | None) -> int:
    return version or (await backend.get_proposal(proposal_id)).version


def _read(file: str) -> NewChangeSet:
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return decode(raw, NewChangeSet)
