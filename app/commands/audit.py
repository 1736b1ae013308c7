"""`audit`: proof of what the history was."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from app.access.local import token_key
from app.audit.heads import Head, of_environment, read_heads, signed
from app.audit.verification import Broken, Verified, one_moment, verify
from app.commands.terminal import aside, console
from app.crypto.signing import Signer
from app.environments import service as environments
from app.environments.models import Environment
from app.scripts import Resources, foreseen_errors, run_script
from app.settings import load

cli = typer.Typer(help="Proof of what the history was.", no_args_is_help=True)


@cli.command("verify")
def verify_history(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENVIRONMENT]...", help="All, unless named.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(help="Signed heads; those of AUDIT_HEADS_FILE if it is there.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Whose heads they are; this installation's by default.")
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
        known = _known_heads(resources, heads, public_key)
        async with one_moment(resources.database) as connection:
            found = [
                environment
                for environment in await environments.list_all(connection)
                if not names or environment.name in names
            ]
            for missing in sorted(set(names or ()) - {each.name for each in found}):
                await environments.get(connection, missing)
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=aside, transient=True) as progress:
            return [
                await _verify_one(resources, each, known, progress, current_epoch=current_epoch)
                for each in found
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
    environment: Environment,
    heads: Sequence[Head],
    progress: Progress,
    *,
    current_epoch: bool,
) -> Verified | Broken:
    task = progress.add_task(f"verifying {environment.name}", total=environment.revision)
    # A moment for each: one that lasts for all of them would keep the server from tidying up.
    async with one_moment(resources.database) as connection:
        outcome = await verify(
            connection,
            environment.name,
            heads=of_environment(
                heads, environment.name, environment.epoch if current_epoch else None
            ),
            report=lambda done: progress.update(
                task, completed=done, total=max(done, environment.revision)
            ),
        )
    progress.remove_task(task)
    return outcome


def _known_heads(resources: Resources, file: Path | None, public_key: str | None) -> list[Head]:
    path = file or resources.settings.audit.heads_file
    if file is None and not path.exists():
        return []
    return read_heads(path, public_key or Signer(token_key(resources.settings)).public_key)


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
        async with one_moment(resources.database) as connection:
            heads = [
                signed(environment, datetime.now(UTC), signer)
                for environment in await environments.list_all(connection)
            ]
        return [msgspec.json.encode(head) for head in heads if head is not None]

    for line in run_script(work):
        typer.echo(line.decode())


@cli.command("public-key")
def print_public_key() -> None:
    """Print the key by which anybody can check what this installation has signed."""
    with foreseen_errors():
        typer.echo(Signer(token_key(load())).public_key)
