"""`python -m tests.process.history`: many runs, each with its own seed."""

import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.process.history.checker import describe, violations
from tests.process.history.records import load
from tests.process.history.run import Run


def main(
    seconds: Annotated[float, typer.Option(help="Length of the traffic of each run.")] = 30,
    runs: Annotated[int, typer.Option(help="How many runs.")] = 1,
    seed: Annotated[
        str,
        typer.Option(envvar="FLAGSTONE_SEED", help="The seed of the first run; random if unset."),
    ] = "",
    check: Annotated[Path | None, typer.Option(help="Check a saved history again.")] = None,
) -> None:
    """Send traffic under faults and check that every promise holds."""
    console = Console()
    if check is not None:
        violated = violations(*load(check))
        console.print(describe(violated) or "no violations", markup=False)
        raise typer.Exit(bool(violated))
    failed = 0
    for number in range(1, runs + 1):
        run = Run(seed if seed and number == 1 else secrets.token_hex(4))
        title = f"run {number} of {runs}, seed {run.seed}: "
        _go(run, seconds, title)
        console.print(f"{title}{run.summary}")
        if run.violations:
            failed += 1
            console.print(run.verdict, markup=False)
    raise typer.Exit(bool(failed))


def _go(run: Run, seconds: float, title: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="flagstone-history-"))
    folder.chmod(0o755)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task(title)

            def tell(event: str) -> None:
                progress.update(task, description=title + event)

            asyncio.run(run.go(folder, seconds, tell))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
