"""`flag`: evaluate a flag and explain why, and look for mistakes in a file of flags."""

import json
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from app.cli.history import At
from app.cli.terminal import console
from app.cli.times import local_time
from app.configuration.changes.properties import Fractional
from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.documents import Format
from app.configuration.transfer.linting import lint_file
from app.evaluation.explain import Split, Step
from app.flags import explanation as service
from app.flags.usage import FlagUse, read_usage
from app.flags.views import EvaluationQuery, ExplainedEvaluation
from app.http.decoder import parse
from app.names import counted
from app.scripts import Resources, run_script

cli = typer.Typer(help="Evaluate, explain and check flags.", no_args_is_help=True)

Environment = Annotated[str, typer.Argument(help="Name of the environment.")]
Key = Annotated[str, typer.Argument(help="Key of the flag.")]
Context = Annotated[str, typer.Option(help="The context, as JSON.")]
Revision = Annotated[int | None, typer.Option(min=0, help="By the rules of this revision.")]
Sample = Annotated[
    bool, typer.Option("--split", help="Draw what 10,000 targeting keys get, with this context.")
]


@cli.command("evaluate")
def evaluate(
    environment: Environment,
    key: Key,
    context: Context = "{}",
    revision: Revision = None,
    at: At = None,
) -> None:
    """Print what a flag gives for a context, as JSON."""
    query = _query(context, revision, at)
    found = service.explained(key, _source(environment, key, query), query)
    typer.echo(json.dumps(_fields(found), ensure_ascii=False))


@cli.command("explain")
def explain(
    environment: Environment,
    key: Key,
    context: Context = "{}",
    revision: Revision = None,
    at: At = None,
    *,
    split: Sample = False,
) -> None:
    """Show what a flag gives for a context, and how that came about."""
    query = _query(context, revision, at)
    source = _source(environment, key, query)
    if split:
        _draw(service.split(key, source, query))
        return
    found = service.explained(key, source, query)
    fields = _fields(found)
    tree = Tree(
        Text(f"{key}: " + ", ".join(f"{name} {_text(each)}" for name, each in fields.items()))
    )
    _grow(tree, found.steps)
    console.print(tree)
    if not found.is_complete:
        console.print("and more steps, which are left out")


@cli.command("stale")
def stale(environment: Environment) -> None:
    """List the flags that look as if they were no longer needed, and why."""

    async def work(resources: Resources) -> list[FlagUse]:
        async with resources.database.connection() as connection:
            return await read_usage(connection, environment, datetime.now(UTC))

    table = Table("flag", "evaluations", "last", "remarks")
    for use in run_script(work):
        if use.remarks:
            last = f"{use.last_evaluated_at:%Y-%m-%d}" if use.last_evaluated_at else "never"
            table.add_row(Text(use.key), str(use.count), last, Text("; ".join(use.remarks)))
    console.print(table if table.row_count else "none")


@cli.command("lint")
def lint(
    file: Annotated[Path, typer.Argument(help="A document of flagd's.", exists=True)],
    format_: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name says.")
    ] = None,
    fractional: Annotated[Fractional, typer.Option(help="How the environment buckets.")] = "v3",
) -> None:
    """Look for what an import into an empty environment would refuse; exit 1 if it finds anything.

    Warnings, such as a rule whose branches are all equal, do not count.
    """
    with closing(Checkers()) as checkers:
        found = lint_file(file, format_, checkers, fractional=fractional, now=int(time.time()))
    for problem in found.problems:
        console.print(f"{problem.field}: {problem.rule}")
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow")
    counts = (
        counted(found.entries, "entry", "entries"),
        counted(len(found.problems), "problem"),
        counted(len(found.warnings), "warning"),
    )
    console.print(", ".join(counts))
    if found.problems:
        raise typer.Exit(1)


def _query(context: str, revision: int | None, at: datetime | None) -> EvaluationQuery:
    parsed = parse(context.encode(), root="--context")
    if not isinstance(parsed, dict):
        raise typer.BadParameter("the context must be an object")
    if revision is not None and at is not None:
        raise typer.BadParameter("--at must not come together with --revision")
    return EvaluationQuery(context=parsed, revision=revision, at=at and local_time(at))


def _source(environment: str, key: str, query: EvaluationQuery) -> service.FlagSource:
    moment = query.revision if query.at is None else query.at

    async def work(resources: Resources) -> service.FlagSource:
        async with resources.database.connection() as connection:
            return await service.source_at(connection, environment, key, moment)

    return run_script(work)


def _draw(counts: Counter[str]) -> None:
    table = Table("outcome", "keys", "share", "")
    for outcome, count in counts.most_common():
        share = count / service.SAMPLE_KEYS
        bar = Bar(service.SAMPLE_KEYS, 0, count, width=40)
        table.add_row(Text(outcome), f"{count}", f"{share:.1%}", bar)
    console.print(table)


def _fields(found: ExplainedEvaluation) -> dict[str, Any]:
    """Return the outcome's parts that are there, by name."""
    outcome = found.outcome
    names = ("reason", "variant", "value", "error_code", "error_details")
    fields = {name: getattr(outcome, name) for name in names}
    return {name: each for name, each in fields.items() if isinstance(each, bool) or each}


def _grow(tree: Tree, steps: list[Step]) -> None:
    for step in steps:
        given = " ".join(map(_text, step.operands))
        branch = tree.add(Text(f"{step.place} {given}".rstrip() + f" → {_came_out(step)}"))
        if step.split is not None:
            _grow_split(branch, step.split)
        _grow(branch, step.steps)


def _came_out(step: Step) -> str:
    if step.error is not None:
        return step.error
    return "nothing" if step.outcome is msgspec.UNSET else _text(step.outcome)


def _grow_split(tree: Tree, split: Split) -> None:
    """Show what each bucket holds, and point at the one that was drawn."""
    bucket = split.bucket
    drawn = "nothing to bucket by" if bucket is None else f"bucket {bucket}"
    branch = tree.add(Text(f"{drawn} in 0 to {split.total_weight - 1}"))
    for share in split.shares:
        held = f"{share.start} to {share.end - 1}" if share.weight else "none"
        is_drawn = bucket is not None and share.start <= bucket < share.end
        mark = " ←" if is_drawn else ""
        branch.add(Text(f"{_text(share.variant)}: {held} (weight {share.weight}){mark}"))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
