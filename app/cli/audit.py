"""`audit`: proof of what the history was."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from app.access.local_credentials import token_key
from app.audit.chain_walk import consistent_read
from app.audit.heads import Head, read_heads, signed
from app.audit.verification import Broken, Verified, latest_revisions, verify
from app.cli.terminal import console, progress_display
from app.crypto.signing import Signer
from app.environments import service as environments
from app.schema.expectations import find_expectations
from app.scripts import Resources, foreseen_errors, run_script
from app.settings import load
from app.threads import in_thread

cli = typer.Typer(help="Proof of what the history was.", no_args_is_help=True)


@cli.command("verify")
def verify_history(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENVIRONMENT]...", help="All, unless named.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(help="Signed heads; those of AUDIT_HEADS_FILE if it is there.")
    ] = None,
    public_keys: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key", help="Whose heads they are; this installation's unless named."
        ),
    ] = None,
    *,
    current_epoch: Annotated[
        bool,
        typer.Option("--current-epoch", help="Leave out heads from before a backup was restored."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines, an object a line.")
    ] = False,
) -> None:
    """Verify the chain of each environment, that what is true now comes from it, and that every
    head that was signed is in it. Names the first revision that does not hold.
    """

    async def work(resources: Resources) -> list[Verified | Broken]:
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
        with progress_display(*columns) as progress:
            task = progress.add_task("reading heads", total=None)
            known = await _known_heads(resources, heads, public_keys)
            progress.remove_task(task)
            async with resources.database.connection() as connection:
                revisions = await latest_revisions(connection)
            # One that is gone is of no epoch; its heads tell of it all the same.
            lost = set() if current_epoch else {head.environment for head in known}
            wanted = set(names) if names else revisions.keys() | lost
            return [
                await _verify_one(
                    resources, name, known, progress, revisions, current_epoch=current_epoch
                )
                # An unknown name is told before anything takes its time.
                for name in sorted(wanted, key=lambda name: (name in revisions, name))
            ]

    outcomes = run_script(work)
    if as_json:
        for outcome in outcomes:
            typer.echo(msgspec.json.encode(_told(outcome)).decode())
    else:
        console.print(_table(outcomes))
    if any(isinstance(outcome, Broken) for outcome in outcomes):
        raise typer.Exit(1)


async def _verify_one(
    resources: Resources,
    name: str,
    heads: Sequence[Head],
    progress: Progress,
    revisions: Mapping[str, int],
    *,
    current_epoch: bool,
) -> Verified | Broken:
    total = revisions.get(name, 0)
    task = progress.add_task(f"verifying {name}", total=total)
    # A moment for each: one that lasts for all of them would keep the server from tidying up.
    async with consistent_read(resources.database) as connection:
        outcome = await verify(
            connection,
            name,
            heads=heads,
            current_epoch=current_epoch,
            report=lambda done: progress.update(task, completed=done, total=max(done, total)),
        )
    progress.remove_task(task)
    return outcome


async def _known_heads(
    resources: Resources, file: Path | None, public_keys: Sequence[str] | None
) -> list[Head]:
    path = file or resources.settings.audit.heads_file
    if file is None and not path.exists():
        return []
    keys = set(public_keys or [Signer(token_key(resources.settings)).public_key])
    return await in_thread("heads", lambda: read_heads(path, keys))


def _table(outcomes: Sequence[Verified | Broken]) -> Table:
    table = Table("environment", "revision", "hash", "heads", "")
    for outcome in outcomes:
        if isinstance(outcome, Broken):
            text = f"broken: revision {outcome.revision} {outcome.reason}"
            table.add_row(outcome.environment, str(outcome.revision), "", "", text, style="red")
            continue
        older = f", {outcome.unchained} of them older than the chain" if outcome.unchained else ""
        table.add_row(
            outcome.environment,
            str(outcome.revision),
            outcome.hash[:16] if outcome.hash else "-",
            str(outcome.heads),
            f"holds{older}",
        )
    return table


def _told(outcome: Verified | Broken) -> dict[str, object]:
    return {"holds": isinstance(outcome, Verified), **msgspec.to_builtins(outcome)}


@cli.command("heads")
def print_heads() -> None:
    """Print the signed head of each environment, to be kept where nobody can change it."""

    async def work(resources: Resources) -> list[bytes]:
        signer = Signer(token_key(resources.settings))
        async with consistent_read(resources.database) as connection:
            expectations = await find_expectations(connection)
            heads = [
                signed(environment, expectations, datetime.now(UTC), signer)
                for environment in await environments.list_all(connection, with_deleted=True)
            ]
        return [msgspec.json.encode(head) for head in heads if head is not None]

    for line in run_script(work):
        typer.echo(line.decode())


@cli.command("public-key")
def print_public_key() -> None:
    """Print the key by which anybody can check what this installation has signed."""
    with foreseen_errors():
        typer.echo(Signer(token_key(load())).public_key)
