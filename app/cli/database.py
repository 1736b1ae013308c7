"""`database`: the schema, the roles, the test data, the embedded server."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app import log
from app.access.log import AccessLog
from app.access.trimming import trim
from app.cli.actor import operator, origin
from app.cli.terminal import console, progress_display
from app.cli.times import local_time
from app.database import Database
from app.database.catalog.fingerprint import redact
from app.database.client.primary import Primary
from app.database.client.reasons import connecting
from app.database.migrations import MigrationError, Migrator, new_files
from app.database.opening import embedded_server, probe, targets
from app.database.roles.credentials import before_provision
from app.database.roles.provision import Provisioner, ProvisionError
from app.names import counted
from app.scripts import Resources, run_script
from app.server.sample_data import add_test_data
from app.settings import Settings, Target, Tier, load
from app.settings.env_file import environment

cli = typer.Typer(help="Schema, roles, test data and the embedded server.", no_args_is_help=True)


@cli.command()
def migrate() -> None:
    """Apply the pending migrations; any number of processes may do so at once."""
    with _migrator() as migrator, progress_display() as progress:
        task = progress.add_task("migrating")
        applied = migrator.migrate(
            lambda name, done, total: progress.update(
                task, description=name, completed=done, total=total
            )
        )
    for name in applied:
        console.print(f"applied {name}")
    console.print("up to date")


@cli.command()
def status() -> None:
    """Show each migration, and whether files and ledger agree; exit 1 when they do not."""
    with _migrator() as migrator:
        ledger = migrator.status()
    records = {record.name: record for record in ledger.records}
    table = Table("migration", "type", "phase", "state", "applied at", "by instance", "ms")
    for file in ledger.files:
        record = records.get(file.name)
        if record is None:
            table.add_row(file.name, file.kind, file.phase, "pending", "", "", "")
        else:
            table.add_row(
                *(file.name, file.kind, file.phase, record.state),
                *(
                    f"{record.applied_at:%Y-%m-%d %H:%M:%S}",
                    record.instance,
                    str(record.duration_ms),
                ),
            )
    console.print(table)
    _report(ledger.problems)


@cli.command()
def verify() -> None:
    """Check files against the ledger; exit 1 for anything pending, edited, late or gone."""
    with _migrator() as migrator:
        ledger = migrator.status()
    pending = (f"{file.name} is pending" for file in ledger.pending)
    newer = (f"{name} was applied by a newer release" for name in ledger.newer)
    _report([*ledger.problems, *pending, *newer])
    console.print(f"{len(ledger.files)} migrations, all applied as written")


@cli.command()
def rollback(
    steps: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 1,
    *,
    force: Annotated[
        bool, typer.Option(help="Also one whose file was edited since; in the local tier alone.")
    ] = False,
) -> None:
    """Take back the latest migrations, as they were written when they were applied."""
    if force and (tier := load().tier) is not Tier.LOCAL:
        raise MigrationError(f"--force: not in {tier}, where an applied migration is never edited")
    with _migrator() as migrator, progress_display() as progress:
        task = progress.add_task("rolling back")
        names = migrator.roll_back(
            steps,
            lambda name, done, total: progress.update(
                task, description=name, completed=done, total=total
            ),
            force=force,
        )
    for name in names:
        console.print(f"rolled back {name}")


@cli.command()
def accept_schema(
    message: Annotated[
        str, typer.Option(help="Why the schema may differ from what migrations made of it.")
    ],
) -> None:
    """Make the schema as it is the expected one, after a change by hand; the access log tells."""
    with _migrator() as migrator:
        differed = migrator.accept(message, operator())
    for line in differed:
        console.print(redact(line), markup=False, highlight=False)
    console.print(f"accepted, differences: {len(differed)}" if differed else "nothing differs")


@cli.command()
def new(name: Annotated[str, typer.Argument(help="PascalCase, such as AddOwnerToFlags.")]) -> None:
    """Write the pair of files for a new migration."""
    for path in new_files(name, time.time_ns() // 1_000_000):
        console.print(path.name)


@cli.command()
def provision(
    credentials: Annotated[
        Path, typer.Option(help="Folder for the roles' URLs, made with mode 0700.")
    ] = Path("credentials"),
    database: Annotated[str, typer.Option(help="Name of the database.")] = "flagstone",
    *,
    reset_passwords: Annotated[
        bool, typer.Option(help="Give roles whose URL is not in the folder a new password.")
    ] = False,
) -> None:
    """Make roles, database and schema, as DATABASE_ADMIN_URL; may be repeated."""
    settings = load(before_provision(environment(), credentials))
    log.configure(settings.log.level, settings.log.format)
    if settings.database.admin is None:
        raise ProvisionError("DATABASE_ADMIN_URL: must be set, to a role that may create roles")
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
    """Add test data to environments that never had a change; refused in staging and production."""
    settings = load()
    names = run_script(lambda r: _seed(settings, r))
    console.print(f"seeded: {', '.join(names) or 'nothing, each has had changes'}")


async def _seed(settings: Settings, resources: Resources) -> list[str]:
    return await add_test_data(settings, resources.database)


@cli.command()
def trim_access_log(
    before: Annotated[
        datetime, typer.Option(help="The time of the oldest row to keep, by this machine's zone.")
    ],
) -> None:
    """Delete what is older from the access log, as its owner; the log tells of it."""
    settings = load()
    log.configure(settings.log.level, settings.log.format)
    with targets(settings) as found:
        trimmed = asyncio.run(_trim(settings, found.migrator, local_time(before)))
    console.print(f"deleted {counted(trimmed, 'row')}")


async def _trim(settings: Settings, migrator: Target, before: datetime) -> int:
    database = Database(settings.database, Primary(settings.data_dir))
    with connecting(migrator, settings.database):
        await database.open(migrator)
    try:
        return await trim(database, AccessLog(database), before=before, origin=origin())
    finally:
        await database.close()


@cli.command()
def stop() -> None:
    """Stop the embedded server of DATA_DIR, whoever uses it."""
    settings = load()
    log.configure(settings.log.level, settings.log.format)
    console.print("stopped" if embedded_server(settings).stop() else "was not running")


@contextmanager
def _migrator() -> Iterator[Migrator]:
    settings = load()
    log.configure(settings.log.level, settings.log.format)
    with targets(settings) as found:
        migrator = asyncio.run(probe(found.migrator, settings))
        yield Migrator(target=migrator, settings=settings.database, instance=settings.instance)


def _report(problems: Sequence[str]) -> None:
    for problem in problems:
        console.print(problem, style="red")
    if problems:
        raise typer.Exit(1)
