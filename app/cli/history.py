"""The verbs of `configuration` that look back, compare, and bring back."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from app.cli.actor import operator, origin
from app.cli.terminal import console
from app.cli.times import local_time
from app.configuration.changes import history, plans, writes
from app.configuration.changes.administration import record_administration
from app.configuration.changes.differences import between_environments, between_revisions
from app.configuration.changes.history import Moment
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.views import (
    ChangeSetPage,
    ChangeView,
    Difference,
    EntryView,
    KeyChange,
    KeyHistory,
    MadeChangeSets,
    PropertiesView,
)
from app.database import Connection
from app.http.dry_run import transact
from app.scripts import Resources, run_script

cli = typer.Typer()
# What stands where a secret's value would.
MASK = "(sealed)"

Environment = Annotated[str, typer.Argument(help="Name of the environment.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change.")]
At = Annotated[
    datetime | None, typer.Option(help="A time instead, by this machine's clock and zone.")
]
Limit = Annotated[int, typer.Option(min=1, max=500, help="How many, the latest first.")]


@cli.command("history")
def show_history(
    environment: Environment,
    key: Annotated[str | None, typer.Argument(help="Of one key; of all, if left out.")] = None,
    limit: Limit = 20,
) -> None:
    """Show what was changed by whom and why, the latest first."""

    async def work(resources: Resources) -> KeyHistory | ChangeSetPage:
        async with resources.database.connection() as connection:
            if key is not None:
                return await history.key_history(connection, environment, key, limit=limit)
            return await history.list_change_sets(connection, environment, limit=limit)

    table = Table("revision", "when", "who", "what", "why")
    for item in run_script(work).items:
        if isinstance(item, KeyChange):
            what = f"{_text(item.before)} → {_text(item.after)}"
        else:
            own = ["the environment itself"] if item.properties else []
            what = ", ".join([*own, *(change.key for change in item.changes)])
            what += _rest(item.changes_count, item.changes)
        when = f"{item.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(item.revision), when, item.actor, what, item.message)
    console.print(table)


@cli.command("diff")
def show_difference(
    environment: Environment,
    before: Annotated[int | None, typer.Option("--from", min=0, help="The earlier one.")] = None,
    after: Annotated[int | None, typer.Option("--to", min=0, help="The later one; now.")] = None,
    against: Annotated[str | None, typer.Option(help="Another environment instead.")] = None,
) -> None:
    """Compare two revisions, or the environment with another one."""
    if (before is None) == (against is None):
        raise typer.BadParameter("give --from, perhaps with --to, or --against alone")

    async def work(resources: Resources) -> Difference:
        async with resources.database.connection() as connection:
            if against is not None:
                return await between_environments(connection, environment, against)
            return await between_revisions(connection, environment, before or 0, after)

    found = run_script(work)
    if found.changes or not found.properties:
        show_changes(found.changes)
    show_properties(found.properties)


@cli.command("revert")
def revert(
    environment: Environment,
    revision: Annotated[int, typer.Argument(min=1, help="Of the change set.")],
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Undo one change set by its inverse; refused for keys that have changed since."""
    _write(lambda c: plans.revert(c, environment, revision), message, dry_run=dry_run)


@cli.command("restore")
def restore(
    environment: Environment,
    revision: Annotated[
        int | None, typer.Argument(min=0, help="To be as it was then; or give --at.")
    ] = None,
    at: At = None,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Make the whole environment as it was at a revision, or at a time."""
    wanted = moment(revision, at)
    if wanted is None:
        raise typer.BadParameter("give a revision, or --at")
    _write(lambda c: plans.restore(c, environment, wanted), message, dry_run=dry_run)


@cli.command("promote")
def promote(
    environment: Annotated[str, typer.Argument(help="The environment that changes.")],
    source: Annotated[str, typer.Argument(help="The one to take the keys from.")],
    keys: Annotated[list[str], typer.Argument(help="Keys; their segments come along.")],
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Make keys equal to another environment, with the segments that flags use."""
    _write(
        # An operator with the database and the key ring can read every secret.
        lambda c: plans.promote(c, source, environment, keys, may_reveal=True),
        message,
        dry_run=dry_run,
    )


def moment(revision: int | None, at: datetime | None) -> Moment | None:
    """Return the moment that two options name, None when neither does."""
    if at is None:
        return revision
    if revision is not None:
        raise typer.BadParameter("give a revision or --at, not both")
    return local_time(at)


def _write(
    plan: Callable[[Connection], Awaitable[plans.ChangePlan]], message: str, *, dry_run: bool
) -> None:
    async def run(resources: Resources) -> MadeChangeSets:
        async def change(connection: Connection) -> MadeChangeSets:
            made = await writes.apply_plan(
                connection,
                await plan(connection),
                actor=operator(),
                message=message,
                vault=resources.vault,
            )
            await record_administration(connection, resources.access_log, made, origin())
            return made

        return await transact(resources.database, change, dry_run=dry_run)

    made = run_script(run)
    for change_set in made.change_sets:
        if change_set.changes:
            show_changes(change_set.changes)
            if rest := _rest(change_set.changes_count, change_set.changes):
                console.print(rest.strip())
        show_properties(change_set.properties)
        if not dry_run:
            console.print(f"{change_set.environment} is at revision {change_set.revision}")
    if not made.change_sets:
        console.print("nothing to change")
    if dry_run:
        console.print("dry run: nothing was written")


def _rest(count: int | None, shown: Sequence[ChangeView]) -> str:
    """Return a text about the changes that are not shown, empty when all are."""
    return f" and {count - len(shown)} more" if count and count > len(shown) else ""


def show_changes(changes: list[ChangeView]) -> None:
    """Print each key before and after."""
    table = Table("key", "before", "after")
    for change in changes:
        table.add_row(change.key, _text(change.before), _text(change.after))
    console.print(table if changes else "no difference")


def show_properties(properties: PropertiesView | None) -> None:
    """Print what an environment says of itself, before and after, where it differs."""
    if properties is None:
        return
    table = Table("property", "before", "after")
    for name in ("metadata", "fractional", "protected"):
        before, after = (getattr(each, name) for each in (properties.before, properties.after))
        if not are_equal(before, after):
            table.add_row(name, _short(before), _short(after))
    console.print(table if table.row_count else "no difference")


def _text(entry: EntryView | None) -> str:
    if entry is None:
        return "-"
    return MASK if entry.sealed else _short(entry.value)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"
