"""`flag`: evaluate and explain flags, list unused flags, and check files of flags.

`flag_edit.py` has the commands that change flags.
"""

import json
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text
from rich.tree import Tree

from app.cli import flag_edit, flag_plan, flag_preview
from app.cli.backend import run_backend
from app.cli.flag_plan import show_shares
from app.cli.help import Command, Commands
from app.cli.options import AsJson, At, EnvironmentName, Revision, local_time, moment
from app.cli.terminal import console, print_json, show_table
from app.configuration.changes.models import Kind
from app.configuration.changes.properties import Fractional
from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.documents import Format
from app.configuration.transfer.linting import lint_file
from app.evaluation.explain import EvaluationStep, NeededFlag, Split
from app.flags import explanation as service
from app.flags.views import EvaluationQuery, ExplainedEvaluation
from app.flags.wording import summarize
from app.http.decoder import parse
from app.names import counted

cli = Commands(
    """Create, target, roll out, switch off, evaluate and explain flags.

    `configuration set` and `configuration import` write whole definitions.

    Works on: the database, or a server with --url. Without --url the service need not run.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token.
    """,
    is_remote=True,
)

examination = Commands(is_remote=True)
cli.add_typer(flag_edit.cli)
cli.add_typer(flag_preview.cli)
cli.add_typer(examination)
cli.add_typer(flag_plan.cli, name="plan")

Key = Annotated[str, typer.Argument(help="Key of the flag.")]
Context = Annotated[str, typer.Option(help="Evaluation context, as a JSON object.", metavar="JSON")]
Sample = Annotated[
    bool, typer.Option("--split", help="Show instead how 10,000 targeting keys are divided.")
]


@examination.command("list")
def list_flags(
    environment: EnvironmentName,
    prefix: Annotated[str, typer.Option(help="List only keys that begin with this.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the flags of an environment: the state of each, and in short what it serves.

    Example: python -m app flag list local
    """
    entries = run_backend(lambda b: b.list_entries(environment, prefix=prefix, kind=Kind.FLAG))
    if as_json:
        print_json(entries)
        return
    show_table(("key", "state", "serves"), [(e.key, *summarize(e.value)) for e in entries])


@examination.command("evaluate")
def evaluate(
    environment: EnvironmentName,
    key: Key,
    context: Context = "{}",
    revision: Revision = None,
    at: At = None,
) -> None:
    r"""Evaluate a flag for a context, and print the outcome as JSON.

    Example:
        python -m app flag evaluate local new-checkout \
            --context '{"targetingKey": "user-1", "email": "a@example.org"}'
    """
    query = _query(context, revision, at)
    explained = run_backend(lambda backend: backend.explain(environment, key, query))
    typer.echo(_text(_fields(explained)))


@examination.command("explain")
def explain(
    environment: EnvironmentName,
    key: Key,
    context: Context = "{}",
    revision: Revision = None,
    at: At = None,
    *,
    split: Sample = False,
) -> None:
    r"""Evaluate a flag for a context, and show each step of its rules.

    Example:
        python -m app flag explain local new-checkout \
            --context '{"targetingKey": "user-1", "email": "a@example.org"}'
    """
    query = _query(context, revision, at)
    if split:
        state = query.revision if query.at is None else query.at
        source = run_backend(lambda backend: backend.flag_source(environment, key, state))
        show_shares(service.split(key, source, query))
        return
    explained = run_backend(lambda backend: backend.explain(environment, key, query))
    fields = (f"{name} {_text(value)}" for name, value in _fields(explained).items())
    tree = Tree(Text(f"{key}: {', '.join(fields)}"))
    _add_steps(tree, explained.steps)
    console.print(tree)
    if not explained.is_complete:
        console.print("more steps are not shown")


@examination.command("stale")
def stale(environment: EnvironmentName, *, as_json: AsJson = False) -> None:
    """List the flags that seem to be unused, with the reason.

    Example: python -m app flag stale local
    """
    unused = [u for u in run_backend(lambda b: b.list_usage(environment)) if u.remarks]
    if as_json:
        print_json(unused)
        return
    rows = []
    for use in unused:
        last = f"{use.last_evaluated_at:%Y-%m-%d}" if use.last_evaluated_at else "never"
        rows.append((use.key, use.count, last, "; ".join(use.remarks)))
    show_table(("flag", "evaluations", "last", "remarks"), rows)


@examination.command("lint", cls=Command)
def lint(
    file: Annotated[
        Path, typer.Argument(help="File of flags, in flagd's format or Flagstone's.", exists=True)
    ],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Format; by default from the file name.")
    ] = None,
    fractional: Annotated[
        Fractional, typer.Option(help="Algorithm of the fractional operator.", metavar="ALGORITHM")
    ] = "v3",
) -> None:
    """Check a file of flags, as an import into an empty environment does.

    Exits with 1 for a problem, and with 0 if there are only warnings.

    Example: python -m app flag lint flags.flagd.json --format flagd

    Works on: the file alone.

    Needs: nothing.
    """
    with closing(Checkers()) as checkers:
        report = lint_file(file, format_, checkers, fractional=fractional, now=int(time.time()))
    for problem in report.problems:
        console.print(f"{problem.field}: {problem.rule}")
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow")
    counts = (
        counted(report.entries, "entry", "entries"),
        counted(len(report.problems), "problem"),
        counted(len(report.warnings), "warning"),
    )
    console.print(", ".join(counts))
    if report.problems:
        raise typer.Exit(1)


def _query(context: str, revision: int | None, at: datetime | None) -> EvaluationQuery:
    parsed = parse(context.encode(), root="--context")
    if not isinstance(parsed, dict):
        raise typer.BadParameter("the context must be an object")
    moment(revision, at)
    return EvaluationQuery(context=parsed, revision=revision, at=at and local_time(at))


def _fields(explained: ExplainedEvaluation) -> dict[str, Any]:
    """Return the parts of the outcome that are set, by name."""
    outcome = explained.outcome
    names = ("reason", "variant", "value", "error_code", "error_details")
    fields = {name: getattr(outcome, name) for name in names}
    return {name: value for name, value in fields.items() if isinstance(value, bool) or value}


def _add_steps(tree: Tree, steps: list[EvaluationStep]) -> None:
    for step in steps:
        operands = " ".join(map(_text, step.operands))
        branch = tree.add(Text(f"{step.place} {operands}".rstrip() + f" → {_outcome(step)}"))
        if step.split is not None:
            _add_split(branch, step.split)
        if step.needed is not None:
            branch.add(Text(_needed_text(step.needed)))
        _add_steps(branch, step.steps)


def _needed_text(needed: NeededFlag) -> str:
    """Return the outcome of another flag in words."""
    if needed.error_code is not None:
        return f"{needed.key} fails: {needed.error_details}"
    return f"{needed.key} gives {needed.variant or 'no variant'}, reason {needed.reason}"


def _outcome(step: EvaluationStep) -> str:
    if step.error is not None:
        return step.error
    return "nothing" if step.outcome is msgspec.UNSET else _text(step.outcome)


def _add_split(tree: Tree, split: Split) -> None:
    """Show the buckets of each variant, and mark the variant that this context gets."""
    bucket = split.bucket
    chosen = "nothing to bucket by" if bucket is None else f"bucket {bucket}"
    branch = tree.add(Text(f"{chosen} in 0 to {split.total_weight - 1}"))
    for share in split.shares:
        buckets = f"{share.start} to {share.end - 1}" if share.weight else "none"
        is_chosen = bucket is not None and share.start <= bucket < share.end
        mark = " ←" if is_chosen else ""
        branch.add(Text(f"{_text(share.variant)}: {buckets} (weight {share.weight}){mark}"))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
