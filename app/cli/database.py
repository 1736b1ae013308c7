"""`database`: migrations, roles, test data and the embedded server."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.access.trimming import trim
from app.cli.actor import operator, origin
from app.cli.help import Commands
from app.cli.options import AsJson, local_time
from app.cli.terminal import (
    console,
    error_console,
    print_json,
    progress_display,
    records,
    show_table,
)
from app.database.catalog.fingerprint import redact
from app.database.migrations import MigrationError, new_files
from app.database.migrations.runner import Migrator
from app.database.roles.credentials import before_provision
from app.database.roles.provision import Provisioner, ProvisionError
from app.database.targets import embedded_server, open_targets, probe
from app.names import counted
from app.scripts import configured_settings, run_script
from app.server.sample_data import add_test_data
from app.settings import Tier, load
from app.settings.env_file import environment

cli = Commands(
    """Manage the schema, the roles, the test data and the embedded server.

    Works on: the database, as the role of DATABASE_MIGRATOR_URL.

    Needs: the settings of the service, in the environment or .env. None in the local tier.
    """
)


@cli.command()
def migrate() -> None:
    """Apply the pending migrations. Several processes may do so at once.

    Example: python -m app database migrate
    """
    with _migrator() as migrator, _progress("migrating") as report:
        applied = migrator.migrate(report, _print_build)
    for name in applied:
        console.print(f"applied {name}")
    console.print("up to date")


@cli.command()
def status(*, as_json: AsJson = False) -> None:
    """List the migrations, with the time and the instance that applied them.

    Exits with 1 when an applied file differs from the database's record of it.

    Example: python -m app database status
    """
    with _migrator() as migrator:
        ledger = migrator.status()
    applied = {record.name: record for record in ledger.records}
    rows = []
    for file in ledger.files:
        record = applied.get(file.name)
        if record is None:
            rows.append((file.name, "pending", "-", "-"))
        else:
            rows.append((file.name, record.state, f"{record.applied_at:%F}", record.instance))
    headings = ("migration", "state", "applied", "by instance")
    if as_json:
        print_json(records(headings, rows))
    else:
        show_table(headings, rows)
    _report(ledger.problems, error_console if as_json else console)


@cli.command()
def verify() -> None:
    """Compare the migration files with the database; exit with 1 for any difference.

    A pending migration is a difference too.

    Example: python -m app database verify
    """
    with _migrator() as migrator:
        ledger = migrator.status()
    pending = (f"{file.name} is pending" for file in ledger.pending)
    newer = (f"{name} was applied by a newer release" for name in ledger.newer)
    _report([*ledger.problems, *pending, *newer])
    console.print(f"{len(ledger.files)} migrations, all applied as written")


@cli.command()
def rollback(
    steps: Annotated[int, typer.Option(min=1, help="Number of migrations, from the latest.")] = 1,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Roll back even if the file was edited; local tier only."),
    ] = False,
) -> None:
    """Roll back the latest migrations, with the files as they were when applied.

    Example: python -m app database rollback --steps 1
    """
    if force and (tier := load().tier) is not Tier.LOCAL:
        raise MigrationError(f"--force: not in {tier}, where an applied migration is never edited")
    with _migrator() as migrator, _progress("rolling back") as report:
        names = migrator.roll_back(steps, report, force=force)
    for name in names:
        console.print(f"rolled back {name}")


@cli.command()
def accept_schema(
    message: Annotated[
        str,
        typer.Option(
            "--message", "-m", help="Reason why the schema may differ from the migrations."
        ),
    ],
) -> None:
    """Accept a manual change of the schema as expected. The access log records it.

    Example:
        python -m app database accept-schema --message "Index for the report"
    """
    with _migrator() as migrator:
        differed = migrator.accept(message, operator())
    for line in differed:
        console.print(redact(line))
    console.print(f"accepted, differences: {len(differed)}" if differed else "nothing differs")


@cli.command()
def new(
    name: Annotated[str, typer.Argument(help="Name in PascalCase, e.g. AddOwnerToFlags.")],
) -> None:
    """Write the two files of a new migration.

    Example: python -m app database new AddOwnerToFlags

    Works on: the folder migrations/.

    Needs: nothing.
    """
    for path in new_files(name, time.time_ns() // 1_000_000):
        console.print(path.name)


@cli.command()
def provision(
    credentials: Annotated[
        Path,
        typer.Option(help="Folder for the roles' URLs, created with mode 0700.", metavar="FOLDER"),
    ] = Path("credentials"),
    database: Annotated[
        str, typer.Option(help="Name of the database.", metavar="NAME")
    ] = "flagstone",
    *,
    reset_passwords: Annotated[
        bool,
        typer.Option(
            "--reset-passwords",
            help="Set a new password for each role that has no URL file in the folder.",
        ),
    ] = False,
) -> None:
    """Create roles, database and schema on your own server. May be repeated.

    Writes one URL for each role into the folder. Set DATABASE_URL_FILE to app.url,
    DATABASE_MIGRATOR_URL_FILE to migrator.url and DATABASE_BACKUP_URL_FILE to backup.url.

    Example: python -m app database provision --credentials credentials

    Works on: the server of DATABASE_ADMIN_URL.

    Needs: DATABASE_ADMIN_URL, of a role that may create roles.
    """
    settings = configured_settings(before_provision(environment(), credentials))
    if settings.database.admin is None:
        raise ProvisionError(
            "DATABASE_ADMIN_URL: must be set to the URL of a role that may create roles"
        )
    asyncio.run(probe(settings.database.admin, settings))
    files = Provisioner(
        admin=settings.database.admin,
        settings=settings.database,
        folder=credentials,
        database=database,
    ).provision(reset_passwords=reset_passwords)
    for role, path in files.items():
        console.print(f"{role:20} {path}")
    console.print(
        "Now set DATABASE_URL_FILE to app.url, DATABASE_MIGRATOR_URL_FILE to migrator.url and "
        "DATABASE_BACKUP_URL_FILE to backup.url"
    )


@cli.command()
def seed() -> None:
    """Add test data to environments without changes.

    Refused in the tiers staging and production.

    Example: python -m app database seed
    """
    settings = load()
    names = run_script(lambda resources: add_test_data(settings, resources.database))
    console.print(f"seeded: {', '.join(names) or 'nothing, each environment has changes'}")


@cli.command()
def trim_access_log(
    before: Annotated[
        datetime,
        typer.Option(help="Delete rows before this time, in this machine's time zone."),
    ],
) -> None:
    """Delete old rows of the access log. The log records it.

    Example: python -m app database trim-access-log --before 2026-01-01
    """
    at = local_time(before)
    trimmed = run_script(
        lambda resources: trim(
            resources.database, resources.access_log, before=at, origin=origin()
        ),
        as_owner=True,
    )
    console.print(f"deleted {counted(trimmed, 'row')}")


@cli.command()
def stop() -> None:
    """Stop the embedded PostgreSQL, even while other processes use it.

    Example: python -m app database stop

    Works on: the embedded PostgreSQL of DATA_DIR.
    """
    settings = configured_settings()
    console.print("stopped" if embedded_server(settings).stop() else "was not running")


@contextmanager
def _migrator() -> Iterator[Migrator]:
    settings = configured_settings()
    with open_targets(settings) as database:
        migrator = asyncio.run(probe(database.migrator, settings))
        yield Migrator(target=migrator, settings=settings.database, instance=settings.instance)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    with progress_display() as progress:
        task = progress.add_task(description)
        yield lambda name, done, total: progress.update(
            task, description=name, completed=done, total=total
        )


def _print_build(name: str, step: str) -> None:
    error_console.print(f"{name}: {step}")


def _report(problems: Sequence[str], output: Console = console) -> None:
    for problem in problems:
        output.print(problem, style="red")
    if problems:
        raise typer.Exit(1)
