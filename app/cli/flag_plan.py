"""`flag plan`: show, set and control the plan of a flag."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.bar import Bar

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import find_flag
from app.cli.flag_preview import read_json
from app.cli.flag_writes import edit_flag, report
from app.cli.help import Commands, WritingCommand
from app.cli.options import AsJson, EnvironmentName, Message, local_time
from app.cli.terminal import console, print_json, show_table
from app.configuration.changes.plan_control import PlanCommand
from app.configuration.entries.models import WriteResult
from app.configuration.snapshots.snapshot import Configuration
from app.errors import NotFound, invalid
from app.evaluation.plans import instants
from app.evaluation.plans.compiling import definition_at
from app.evaluation.plans.plan import PLAN
from app.evaluation.plans.status import PlanStatus, status_of
from app.flags import explanation
from app.flags.editing import Definition, variant_of
from app.flags.plan_templates import plan_from
from app.flags.plan_views import PlanControl
from app.flags.plan_words import hold_words, status_words, step_words
from app.flags.sampling import SAMPLE_KEYS
from app.flags.views import EvaluationQuery
from app.flags.wording import describe

cli = Commands(
    """Change a flag at planned times: set a plan, pause it, continue it, and stop it.

    A time has an offset, as 2026-12-01T09:00:00Z, or a zone, as 2026-12-01T09:00:00[Europe/Berlin].
    Without either it is in this machine's time zone.

    Works on: the database, or a server with --url. Without --url the service need not run.

    Needs: the settings of the service, in the environment or .env. None in the local tier. With
    --url only a token.
    """,
    is_remote=True,
)

Key = Annotated[str, typer.Argument(help="Key of the flag.")]


@cli.command("show")
def show(environment: EnvironmentName, key: Key, *, as_json: AsJson = False) -> None:
    """Show the plan of a flag: where it is, and its steps.

    Example: python -m app flag plan show local new-checkout
    """
    entry = run_backend(lambda b: find_flag(b, environment, key))
    status = _status(entry)
    if as_json:
        print_json(entry.value[PLAN])
        return
    console.print(f"{status.plan.name}: {status_words(status)}")
    _show_steps(status)


@cli.command("set", cls=WritingCommand)
def set_plan(
    environment: EnvironmentName,
    key: Key,
    plan: Annotated[
        str, typer.Argument(help="Plan: a file, JSON, or - for standard input.", metavar="PLAN")
    ],
    message: Message = "",
) -> None:
    """Set the plan of a flag. It replaces the plan that the flag has.

    Example:
        python -m app flag plan set local new-checkout plan.json
    """
    new = read_json(plan)
    _write(environment, key, lambda _: new, message)


@cli.command("apply-template", cls=WritingCommand)
def apply_template(
    environment: EnvironmentName,
    key: Key,
    template: Annotated[
        str, typer.Argument(help="Name of the template: canary, one-day or one-week.")
    ],
    start: Annotated[
        str | None, typer.Option(help="Time of the first step; now by default.", metavar="TIME")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Variant that grows; by default the one that is true.")
    ] = None,
    message: Message = "",
) -> None:
    r"""Set the plan of a flag from a template.

    Example:
        python -m app flag plan apply-template local new-checkout canary \
            --start 2099-12-01T09:00:00Z
    """
    begin = int(time.time()) if start is None else _instant(start, "--start")

    def plan(definition: Definition) -> Any:
        grown = variant or variant_of(definition, "--variant", value=True)
        return plan_from(template, datetime.fromtimestamp(begin, UTC), grown)

    _write(environment, key, plan, message)


@cli.command("at")
def at(
    environment: EnvironmentName,
    key: Key,
    instant: Annotated[str, typer.Argument(help="Time to look at.", metavar="TIME")],
) -> None:
    """Show what a flag serves at a time: in words, and to how many of 10,000 targeting keys.

    Example: python -m app flag plan at local new-checkout 2099-12-02T12:00:00Z
    """
    seconds = _instant(instant, "TIME")
    source = run_backend(lambda b: b.flag_source(environment, key, None))
    for line in describe(definition_at(source.definition, seconds)):
        console.print(line)
    query = EvaluationQuery(at=datetime.fromtimestamp(seconds, UTC))
    show_shares(explanation.split(key, source, query))


@cli.command("pause", cls=WritingCommand)
def pause(environment: EnvironmentName, key: Key, message: Message = "") -> None:
    """Pause a plan: the flag stays as it is, and later steps wait.

    Example: python -m app flag plan pause local new-checkout -m "More errors"
    """
    _control(environment, key, PlanCommand.PAUSE, message)


@cli.command("continue", cls=WritingCommand)
def continue_(environment: EnvironmentName, key: Key, message: Message = "") -> None:
    """Continue a plan that is paused, or begin a step that waits for an approval.

    Later steps move by the time of the wait.

    Example: python -m app flag plan continue local new-checkout
    """
    _control(environment, key, PlanCommand.CONTINUE, message)


@cli.command("skip", cls=WritingCommand)
def skip(
    environment: EnvironmentName,
    key: Key,
    step: Annotated[int, typer.Argument(help="Number of the step that begins now.", min=1)],
    message: Message = "",
) -> None:
    """Begin a later step now. The steps before it do not begin, and those after it move with it.

    Example: python -m app flag plan skip local new-checkout 2
    """
    _control(environment, key, PlanCommand.SKIP, message, step)


@cli.command("finish", cls=WritingCommand)
def finish(environment: EnvironmentName, key: Key, message: Message = "") -> None:
    """Remove a plan, and leave the flag as it is now.

    Example: python -m app flag plan finish local new-checkout
    """
    _control(environment, key, PlanCommand.FINISH, message)


@cli.command("return", cls=WritingCommand)
def return_(environment: EnvironmentName, key: Key, message: Message = "") -> None:
    """Remove a plan: the flag serves again what it served before it.

    Example: python -m app flag plan return local new-checkout
    """
    _control(environment, key, PlanCommand.RETURN, message)


def show_shares(counts: Counter[str]) -> None:
    """Print how many of the sampled keys get each outcome, with a bar."""
    show_table(
        ("outcome", "keys", "share", ""),
        [
            (
                outcome,
                count,
                f"{count / SAMPLE_KEYS:.1%}",
                Bar(SAMPLE_KEYS, 0, count, width=40),
            )
            for outcome, count in counts.most_common()
        ],
    )


def _write(environment: str, key: str, plan: Callable[[Definition], Any], message: str) -> None:
    def edit(definition: Definition, _: Definition | None) -> Definition:
        return {**definition, PLAN: plan(definition)}

    edit_flag(environment, key, edit, message)
    show(environment, key)


def _control(
    environment: str, key: str, action: PlanCommand, message: str, step: int | None = None
) -> None:
    body = PlanControl(step=step, message=message)

    async def write(backend: Backend) -> tuple[WriteResult, Configuration]:
        flag = await find_flag(backend, environment, key)
        written = await backend.control_plan(environment, key, action, body, flag.version)
        return written, await backend.get_entry(environment, key, written.revision)

    written, entry = run_backend(write)
    report(environment, key, written, entry.value)


def _status(entry: Configuration) -> PlanStatus:
    """Return where the plan of a flag is. Raises NotFound, and Invalid for one without a form."""
    status = status_of(entry.value, int(time.time())) if isinstance(entry.value, dict) else None
    if status is None:
        raise NotFound("plan_unknown", f"The flag {entry.key} has no plan.")
    return status


def _show_steps(status: PlanStatus) -> None:
    rows = []
    for step in status.plan.steps:
        mark = "skipped" if step.is_skipped else "begun" if step.number <= status.step else ""
        words = ", ".join([*step_words(step), *hold_words(step)])
        at_ = datetime.fromtimestamp(step.at, UTC).astimezone()
        rows.append((step.number, f"{at_:%Y-%m-%d %H:%M:%S %z}", words, mark))
    show_table(("step", "time", "changes", ""), rows)


def _instant(text: str, name: str) -> int:
    """Return the Unix seconds of a time. Without a zone it is in that of this machine."""
    try:
        return instants.parse(text)
    except instants.InstantError as error:
        try:
            local = datetime.fromisoformat(text)
        except ValueError:
            raise invalid(name, str(error)) from None
    return int(local_time(local).timestamp())
