"""`audit`: verify the history, and print the signed heads that prove it later."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import Progress
from rich.text import Text

from app.access.local_credentials import token_key
from app.audit.chain import consistent_read
from app.audit.heads import Head, read_heads, signed
from app.audit.verification import Broken, Verified, latest_revisions, verify
from app.cli.help import Commands
from app.cli.terminal import (
    counting_columns,
    print_json_line,
    progress_display,
    show_table,
)
from app.crypto.signing import Signer
from app.environments import service as environments
from app.schema.expectations import find_expectations
from app.scripts import Resources, run_script
from app.settings import load
from app.threads import in_thread

cli = Commands(
    """Verify the history, and print its signed heads.

    Works on: the database, which is only read.

    Needs: the settings of the service, in the environment or .env. None in the local tier.
    """
)


@cli.command("verify")
def verify_history(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ENVIRONMENT...", help="Environments; all by default."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="File of signed heads; AUDIT_HEADS_FILE by default, if it exists."),
    ] = None,
    public_keys: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key",
            help="Public key that signed the heads, repeatable; this installation's by default.",
        ),
    ] = None,
    *,
    current_epoch: Annotated[
        bool,
        typer.Option("--current-epoch", help="Ignore heads from before a backup was restored."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object per line.")
    ] = False,
) -> None:
    """Verify that the history is unchanged, agrees with the entries, and contains signed heads.

    If the history was changed, name the first changed revision of each environment, and exit
    with 1.

    Example: python -m app audit verify
    """

    async def work(resources: Resources) -> list[Verified | Broken]:
        with progress_display(*counting_columns()) as progress:
            task = progress.add_task("reading heads", total=None)
            signed_heads = await _signed_heads(resources, heads, public_keys)
            progress.remove_task(task)
            async with resources.database.connection() as connection:
                revisions = await latest_revisions(connection)
            # A deleted environment has no current epoch; only its heads name it.
            lost = set() if current_epoch else {head.environment for head in signed_heads}
            selected = set(names) if names else revisions.keys() | lost
            return [
                await _verify_one(
                    resources, name, signed_heads, progress, revisions, current_epoch=current_epoch
                )
                # Unknown names first: their error needs no time.
                for name in sorted(selected, key=lambda name: (name in revisions, name))
            ]

    outcomes = run_script(work)
    if as_json:
        for outcome in outcomes:
            holds = isinstance(outcome, Verified)
            print_json_line({"holds": holds, **msgspec.to_builtins(outcome)})
    else:
        headings = ("environment", "revision", "hash", "heads", "result")
        show_table(headings, map(_row, outcomes))
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
    # One transaction per environment: a long one would keep the server from vacuuming.
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


async def _signed_heads(
    resources: Resources, file: Path | None, public_keys: Sequence[str] | None
) -> list[Head]:
    path = file or resources.settings.audit.heads_file
    if file is None and not path.exists():
        return []
    keys = set(public_keys or [Signer(token_key(resources.settings)).public_key])
    return await in_thread("heads", lambda: read_heads(path, keys))


def _row(outcome: Verified | Broken) -> tuple[Any, ...]:
    if isinstance(outcome, Broken):
        text = Text(f"broken: revision {outcome.revision} {outcome.reason}", style="red")
        return outcome.environment, outcome.revision, "-", "-", text
    hash_ = outcome.hash[:16] if outcome.hash else "-"
    return outcome.environment, outcome.revision, hash_, outcome.heads, "holds"


@cli.command("heads")
def print_heads() -> None:
    """Print the signed head of each environment, one JSON object per line.

    Store them where no one can change them. `audit verify --heads FILE` compares with them.

    Example: python -m app audit heads
    """

    async def work(resources: Resources) -> list[Head]:
        signer = Signer(token_key(resources.settings))
        async with consistent_read(resources.database) as connection:
            expectations = await find_expectations(connection)
            heads = [
                signed(environment, expectations, datetime.now(UTC), signer)
                for environment in await environments.list_all(connection, with_deleted=True)
            ]
        return [head for head in heads if head is not None]

    for head in run_script(work):
        print_json_line(head)


@cli.command("public-key")
def print_public_key() -> None:
    """Print the public key that checks the signatures of this installation.

    Example: python -m app audit public-key

    Works on: the settings alone.
    """
    typer.echo(Signer(token_key(load())).public_key)
