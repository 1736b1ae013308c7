"""`backup`: create, list, verify, restore and prune backups.

One module for the whole command: its verbs share the settings, the time limit and the options.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.filesize import decimal

from app.access.events import AccessEvent
from app.access.local_credentials import token_key
from app.cli.access_record import record_or_warn
from app.cli.actor import operator, origin
from app.cli.help import Commands
from app.cli.options import AsJson
from app.cli.terminal import (
    byte_progress,
    confirm,
    console,
    error_console,
    print_json_line,
    show_table,
)
from app.crypto.signing import Signer
from app.database import Connection, sql
from app.database.migrations.runner import Migrator
from app.database.targets import open_targets, probe
from app.names import counted
from app.operations.backups import data_reader, recipients, store
from app.operations.backups.data_reader import BackupSource
from app.operations.backups.dump import BackupRequest, create_backup
from app.operations.backups.errors import BackupError
from app.operations.backups.restore import (
    RestoreTarget,
    migrate_restored,
    restore_backup,
)
from app.operations.backups.store import LATEST, Backup
from app.operations.backups.verification import verify_backup
from app.scripts import Resources, configured_settings, run_transaction
from app.secrets.key_sources import present_wrapper_of
from app.secrets.vault import Vault
from app.settings import Settings

cli = Commands(
    """Create, list, verify and restore encrypted backups.

    Works on: BACKUP_DIR and the database.

    Needs: the settings of the service. In the tiers staging and production also BACKUP_RECIPIENTS.
    """
)

# Above the limit of pg_dump itself.
_COMMAND_SECONDS = 4 * 3600
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))

Name = Annotated[str, typer.Argument(help="Name of the backup, as in `backup list`, or latest.")]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        help="File of an identity that can decrypt the backup; default in local: DATA_DIR's.",
    ),
]
PublicKey = Annotated[
    str | None,
    typer.Option(help="Public key that signed the backup; this installation's by default."),
]


@cli.command("create")
def create(*, as_json: AsJson = False) -> None:
    """Dump the database into BACKUP_DIR, encrypted for BACKUP_RECIPIENTS.

    Example: python -m app backup create
    """
    with _settings() as settings:
        started = time.monotonic()
        signer = Signer(token_key(settings))
        allowed = recipients.recipients(settings)
        with open_targets(settings) as database, byte_progress("dumping") as report:
            target = database.backup
            if len(target.hosts) > 1:
                # pg_dump knows no timelines: it would dump a former primary as well.
                target = asyncio.run(probe(target, settings))
            request = BackupRequest(
                target=target,
                settings=settings.database,
                folder=settings.backups.folder,
                recipients=allowed,
                signer=signer,
            )
            manifest = create_backup(request, report)
            access = origin().did(
                AccessEvent.BACKUP_CREATED, resource=manifest.name, detail=f"{manifest.bytes} bytes"
            )
            record_or_warn(settings, access)
    if as_json:
        print_json_line(manifest)
        return
    console.print(
        f"{manifest.name}: {decimal(manifest.bytes)} in {time.monotonic() - started:.1f} s, "
        f"{counted(manifest.revisions, 'revision')}, in {settings.backups.folder}",
    )


@cli.command("list")
def list_backups(*, public_key: PublicKey = None, as_json: AsJson = False) -> None:
    """List the backups, newest first, with age, size, signature and last verification.

    Example: python -m app backup list
    """
    with _settings() as settings:
        backups = store.list_all(settings.backups.folder, public_key or _own_key(settings))
    if as_json:
        print_json_line([backup.as_json() for backup in backups])
    elif not backups:
        console.print(f"no backups in {settings.backups.folder}")
    else:
        headings = ("name", "age", "size", "revisions", "signature", "verified")
        show_table(headings, [_row(backup, datetime.now(UTC)) for backup in backups])
        for problem in (backup.problem for backup in backups if backup.problem is not None):
            console.print(problem, style="red")


def _row(backup: Backup, now: datetime) -> tuple[str | int, ...]:
    manifest, proof = backup.manifest, backup.verification
    return (
        backup.name,
        _age(now, manifest.created_at) if manifest else "-",
        decimal(manifest.bytes) if manifest else "-",
        manifest.revisions if manifest else "-",
        "ours" if backup.problem is None else "invalid",
        f"{proof.at:%Y-%m-%d %H:%M} in {proof.restore_seconds:.0f} s" if proof else "-",
    )


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


@cli.command("verify")
def verify(
    name: Name = LATEST,
    identity: IdentityFile = None,
    public_key: PublicKey = None,
    *,
    without_secrets: Annotated[
        bool,
        typer.Option("--without-secrets", help="Succeed without the key ring: skip the secrets."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a temporary server, and check what it has.

    Compares the number of rows with the manifest, verifies the history, and opens some secrets.
    Exits with 1 when the secrets could not be opened.

    Example: python -m app backup verify
    """
    with _settings() as settings:
        backup, source = _source(settings, name, identity, public_key)
        vault = Vault(present_wrapper_of(settings))
        with byte_progress("restoring") as report:
            verification, secrets = verify_backup(
                source, settings, vault, report, without_secrets=without_secrets
            )
    if as_json:
        print_json_line(verification)
    else:
        manifest = source.manifest
        console.print(f"{backup.name}: signed, whole, restored in {verification.restore_seconds} s")
        rows = sum(manifest.tables.values())
        console.print(
            f"tables: {len(manifest.tables)}, with {counted(rows, 'row')}, as the manifest says"
        )
        console.print(
            f"chains: {len(manifest.heads)}, with {counted(manifest.revisions, 'revision')}"
        )
        style = None if secrets.is_proof else "red"
        console.print(f"secrets: {secrets.text}", style=style)
    if not secrets.is_proof and not without_secrets:
        error_console.print(
            "error: the secrets were not opened. Set KEY_RING_FILE, or give --without-secrets"
        )
        raise typer.Exit(1)


@cli.command("restore")
def restore(
    name: Name = LATEST,
    identity: IdentityFile = None,
    public_key: PublicKey = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is in the database.")
    ] = False,
    confirmed: Annotated[
        str | None,
        typer.Option(
            "--confirm", help="Name of the database, instead of the prompt for it.", metavar="NAME"
        ),
    ] = None,
) -> None:
    """Restore a backup into the database, in one transaction.

    Writes since the backup are lost. A token that was revoked since the backup stays revoked.
    Running replicas wait until the restore ends. Then every client reloads, under a new epoch.

    Example: python -m app backup restore --replace --confirm flagstone
    """
    with _settings() as settings:
        backup, source = _source(settings, name, identity, public_key)
        with open_targets(settings) as database:
            if replace:
                confirm(database.migrator.database, confirmed, "replace everything in it")
            with byte_progress("checking") as report:
                data_reader.check_digest(source, report)
            target = RestoreTarget(
                target=database.migrator,
                settings=settings.database,
                replaces=replace,
                actor=operator(),
            )
            with byte_progress("restoring") as report:
                heads = restore_backup(source, target, report)
            migrator = Migrator(
                target=database.migrator, settings=settings.database, instance=settings.instance
            )
            # The restore is committed: print it before the migrations, which may fail.
            for head in heads:
                console.print(f"{head.name}: revision {head.revision}, epoch {head.epoch}")
            for migration in migrate_restored(source.manifest, migrator):
                console.print(f"applied {migration}")
    console.print(f"{backup.name} is back in {database.migrator.database}")


def _source(
    settings: Settings, name: str, file: Path | None, public_key: str | None
) -> tuple[Backup, BackupSource]:
    """Return a backup without a known problem, and its source. Raises BackupError."""
    backup = store.find(settings.backups.folder, name, public_key or _own_key(settings))
    if backup.problem is not None or backup.manifest is None:
        raise BackupError(backup.problem or f"{backup.name}: has no manifest")
    identity = recipients.identity(settings, file)
    return backup, BackupSource(folder=backup.folder, manifest=backup.manifest, identity=identity)


@cli.command("prune")
def prune(
    keep: Annotated[
        int | None, typer.Option(min=1, help="Number of backups to keep; BACKUP_KEEP by default.")
    ] = None,
) -> None:
    """Remove all backups but the newest. The backup that was verified last is not removed.

    Example: python -m app backup prune --keep 7
    """
    with _settings() as settings:
        folder = settings.backups.folder
        pruned = store.prune(folder, _own_key(settings), keep or settings.backups.keep)
    for name in pruned.removed:
        console.print(f"removed {name}")
    for problem in pruned.problems:
        console.print(f"left {problem}")
    if not pruned.removed:
        console.print("nothing to remove")


@cli.command("new-epoch")
def new_epoch() -> None:
    """Make every client and replica reload.

    Needed after a restore by other means than `backup restore`, for example to a point in time.

    Example: python -m app backup new-epoch

    Works on: the database.
    """

    async def write(resources: Resources, connection: Connection) -> list[tuple[str, str]]:
        access = origin().did(
            AccessEvent.ADMINISTRATION, detail="every environment has a new epoch"
        )
        await resources.access_log.record(connection, access)
        return [(row["name"], row["epoch"]) async for row in sql.renew_epochs(connection)]

    for name, epoch in sorted(run_transaction(write)):
        console.print(f"{name}: epoch {epoch}")


@contextmanager
def _settings() -> Iterator[Settings]:
    """Yield the settings, and limit the time of the block."""
    settings = configured_settings()
    # For steps without a limit of their own, such as a statement on a frozen server.
    signal.signal(signal.SIGALRM, _fail_by_time)
    signal.alarm(_COMMAND_SECONDS)
    try:
        yield settings
    finally:
        signal.alarm(0)


def _fail_by_time(*_: object) -> NoReturn:
    raise BackupError(f"not done within {_COMMAND_SECONDS / 3600:g} hours")


def _own_key(settings: Settings) -> str:
    return Signer(token_key(settings)).public_key
