"""The commands of `configuration` that show, compare and restore earlier states."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated

import typer

from app.access.actors import distinct_names
from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.help import Commands, WritingCommand
from app.cli.options import AsJson, At, DryRun, EnvironmentName, Message, OnlyPrefixes, moment
from app.cli.terminal import console, print_json, shortened, show_table
from app.configuration.changes.models import Kind
from app.configuration.changes.views import (
    AppliedChangeSet,
    AppliedChangeSets,
    ChangeSetPage,
    ChangeView,
    Difference,
    KeyChange,
    KeyHistory,
    PropertiesChangeView,
    approval_words,
)
from app.configuration.lists.models import ListResult
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer.service import ImportResult
from app.flags.change_words.entries import describe_change, describe_changes, describe_properties
from app.flags.change_words.sentences import Sentence, Tense, plain_text
from app.flags.wording import describe

cli = Commands(is_remote=True)
# Printed instead of a secret's value.
MASK = "(sealed)"
DRY_RUN = "dry run: nothing was written"
# For one row of the history of an environment.
_SENTENCES_MAX = 3


@cli.command("history")
def show_history(
    environment: EnvironmentName,
    key: Annotated[str | None, typer.Argument(help="Key of an entry; all by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Number of changes to show.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the changes of an environment or of one key, the latest first.

    Example: python -m app configuration history local greeting
    """

    async def read(backend: Backend) -> KeyHistory | ChangeSetPage:
        if key is not None:
            return await backend.key_history(environment, key, limit=limit)
        return await backend.list_change_sets(environment, limit=limit)

    page = run_backend(read)
    if as_json:
        print_json(page.items)
        return
    rows = []
    names = distinct_names((item.actor, item.actor_name) for item in page.items)
    for item in page.items:
        if isinstance(item, KeyChange):
            sentences = describe_change(key or "", item.before, item.after)
        else:
            hidden = item.changes_count - len(item.changes)
            sentences = describe_changes(
                item.changes, item.properties, limit=_SENTENCES_MAX, hidden=hidden
            )
        change = "; ".join(map(plain_text, sentences))
        when = f"{item.created_at:%Y-%m-%d %H:%M:%S}"
        why = "; ".join(filter(None, (item.message, approval_words(item.approval))))
        rows.append((item.revision, when, names[item.actor], change, why))
    show_table(("revision", "when", "who", "what", "why"), rows)


@cli.command("diff")
def show_difference(
    environment: EnvironmentName,
    before: Annotated[
        int | None, typer.Option("--from", min=0, help="Revision to compare from.")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--to", min=0, help="Revision to compare with; the latest by default."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Environment to compare with, instead of a revision.", metavar="ENVIRONMENT"
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Compare two revisions of an environment, or two environments.

    Example: python -m app configuration diff local --against development
    """
    if (before is None) == (against is None):
        raise typer.BadParameter("give --from, optionally with --to, or --against alone")

    async def read(backend: Backend) -> Difference:
        if against is not None:
            return await backend.compare_environments(environment, against)
        return await backend.compare_revisions(environment, before or 0, after)

    difference = run_backend(read)
    if as_json:
        print_json(difference)
        return
    tense = Tense.PAST if against is None else Tense.PLANNED
    if difference.changes or not difference.properties:
        show_changes(difference.changes, tense)
    show_properties(difference.properties, tense)


@cli.command("revert", cls=WritingCommand)
def revert(
    environment: EnvironmentName,
    revision: Annotated[int, typer.Argument(min=1, help="Revision of the change set.")],
    message: Message = "",
    *,
    prefixes: OnlyPrefixes = None,
    dry_run: DryRun = False,
) -> None:
    """Undo one change set by a new one.

    Refused if one of its keys has changed since that revision.

    Example: python -m app configuration revert local 2 --dry-run
    """
    write_and_show(
        lambda b: b.revert(
            environment, revision, message, prefixes=prefixes or (), dry_run=dry_run
        ),
        dry_run=dry_run,
    )


@cli.command("restore", cls=WritingCommand)
def restore(
    environment: EnvironmentName,
    revision: Annotated[
        int | None, typer.Argument(min=0, help="Revision to restore, instead of --at.")
    ] = None,
    at: At = None,
    message: Message = "",
    *,
    prefixes: OnlyPrefixes = None,
    dry_run: DryRun = False,
) -> None:
    """Restore a whole environment to its state at a revision or a time.

    The result is one new change set. The history stays.

    Example: python -m app configuration restore local 1 --dry-run
    """
    restored = moment(revision, at)
    if restored is None:
        raise typer.BadParameter("give a revision or --at")
    write_and_show(
        lambda b: b.restore(
            environment, restored, message, prefixes=prefixes or (), dry_run=dry_run
        ),
        dry_run=dry_run,
    )


@cli.command("promote", cls=WritingCommand)
def promote(
    environment: Annotated[str, typer.Argument(help="Environment to change.")],
    source: Annotated[str, typer.Argument(help="Environment to copy from.")],
    keys: Annotated[list[str], typer.Argument(help="Keys to copy.", metavar="KEY...")],
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Copy keys from another environment, with the segments that the flags use.

    Example:
        python -m app configuration promote development local greeting
    """
    write_and_show(
        lambda b: b.promote(environment, source, keys, message, dry_run=dry_run), dry_run=dry_run
    )


def write_and_show(
    write: Callable[[Backend], Awaitable[AppliedChangeSets]], *, dry_run: bool
) -> None:
    """Run a write, and print in words what changed, or what would change."""
    result = run_backend(write)
    tense = tense_of(dry_run=dry_run)
    for change_set in result.change_sets:
        if change_set.changes:
            show_changes(change_set.changes, tense)
            hidden = (change_set.changes_count or 0) - len(change_set.changes)
            if hidden > 0:
                console.print(f"and {hidden} more")
        show_properties(change_set.properties, tense)
        if not dry_run:
            console.print(f"{change_set.environment} is at revision {change_set.revision}")
    if not result.change_sets:
        console.print("nothing to change")
    if dry_run:
        report_dry_run(result.change_sets)


def report_dry_run(change_sets: Sequence[AppliedChangeSet | ImportResult | ListResult]) -> None:
    """Say that nothing was written, and where the write would need approvals."""
    for change_set in change_sets:
        if change_set.approval_required:
            console.print(f"{change_set.environment} is protected: the change needs approvals")
    console.print(DRY_RUN)


def tense_of(*, dry_run: bool) -> Tense:
    return Tense.PLANNED if dry_run else Tense.PAST


def show_changes(changes: list[ChangeView], tense: Tense) -> None:
    """Print in words how each key changes."""
    if not changes:
        console.print("no difference")
    for change in changes:
        _show_sentences(describe_changes([change], tense=tense))


def show_properties(properties: PropertiesChangeView | None, tense: Tense) -> None:
    """Print in words how the properties of an environment change."""
    if properties is not None:
        _show_sentences(describe_properties(properties, tense=tense))


def _show_sentences(sentences: Iterable[Sentence]) -> None:
    for sentence in sentences:
        console.print(plain_text(sentence))


def text_of(entry: Configuration) -> str:
    """Return the value of an entry for a table: a flag in words, and no value of a secret."""
    if entry.kind == Kind.FLAG:
        return "; ".join(describe(entry.value))
    return MASK if entry.sealed else shortened(entry.value)
