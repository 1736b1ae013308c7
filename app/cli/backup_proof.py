"""`backup verify` and `restore`: what a backup is for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.actor import operator
from app.cli.backup_frame import AsJson, PublicKey, own_key, prepared, progress
from app.cli.terminal import aside, console
from app.database.migrations import Migrator
from app.database.opening import targets
from app.names import counted
from app.operations.backups import keys, reading, restoring, store
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Head
from app.operations.backups.reading import Source
from app.operations.backups.restoring import Place
from app.operations.backups.store import LATEST, Backup
from app.operations.backups.verifying import verify_backup
from app.secrets.key_sources import present_wrapper_of
from app.secrets.vault import Vault
from app.settings import Settings

cli = typer.Typer()

Name = Annotated[str, typer.Argument(help="As `list` shows it, or latest.")]
IdentityFile = Annotated[
    Path | None,
    typer.Option("--identity", help="File of an identity that it is for; in local the one made."),
]


@cli.command("verify")
def verify(
    name: Name = LATEST,
    identity: IdentityFile = None,
    public_key: PublicKey = None,
    *,
    without_secrets: Annotated[
        bool, typer.Option("--without-secrets", help="Also where the key ring is not here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a server of its own, compare, verify each chain, open some secrets."""
    with prepared() as settings:
        backup, source = _chosen(settings, name, identity, public_key)
        vault = Vault(present_wrapper_of(settings))
        with progress("restoring aside") as report:
            verification, secrets = verify_backup(
                source, settings, vault, report, without_secrets=without_secrets
            )
    if as_json:
        typer.echo(msgspec.json.encode(verification).decode())
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
        console.print(f"secrets: {secrets.told}", style=style, soft_wrap=True)
    if not secrets.is_proof and not without_secrets:
        aside.print("not proven, for its secrets; --without-secrets leaves them out")
        raise typer.Exit(1)


@cli.command("restore")
def restore(
    name: Name = LATEST,
    identity: IdentityFile = None,
    public_key: PublicKey = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even though there is something in the database.")
    ] = False,
    confirm: Annotated[
        str | None, typer.Option(help="The database's name, instead of typing it when asked.")
    ] = None,
) -> None:
    """Put a backup back, whole or not at all. Every client then starts anew, under a new epoch.

    What was written since is lost; a token that was revoked since stays so. Running replicas wait.
    """
    with prepared() as settings:
        backup, source = _chosen(settings, name, identity, public_key)
        with targets(settings) as found:
            if replace:
                _confirm(found.migrator.database, confirm)
            with progress("checking") as report:
                reading.check_digest(source, report)
            place = Place(
                target=found.migrator,
                settings=settings.database,
                replaces=replace,
                actor=operator(),
            )
            with progress("restoring") as report:
                heads = _restore(source, place, report)
            migrator = Migrator(
                target=found.migrator, settings=settings.database, instance=settings.instance
            )
            # Before what may still fail: from here on it is so.
            for head in heads:
                console.print(f"{head.name}: revision {head.revision}, epoch {head.epoch}")
            for migration in restoring.settle(source.manifest, migrator):
                console.print(f"applied {migration}")
    console.print(f"{backup.name} is back in {found.migrator.database}")


def _chosen(
    settings: Settings, name: str, file: Path | None, public_key: str | None
) -> tuple[Backup, Source]:
    """Return a backup that is whole by its manifest, and who opens it. Raises BackupError."""
    key = public_key or own_key(settings)
    backup = store.find(settings.backups.folder, name, key)
    if backup.problem is not None or backup.manifest is None:
        raise BackupError(backup.problem or f"{backup.name}: has no manifest")
    identity = keys.identity(settings, file)
    return backup, Source(folder=backup.folder, manifest=backup.manifest, identity=identity)


def _confirm(database: str, confirm: str | None) -> None:
    typed = confirm or typer.prompt(f"Type {database} to replace all that is in it")
    if typed != database:
        raise typer.BadParameter("that is not the database's name; nothing was done")


def _restore(source: Source, place: Place, report: Callable[[int, int], None]) -> Sequence[Head]:
    try:
        return restoring.restore(source, place, report)
    except restoring.NotEmptyError as error:
        raise BackupError(f"{error}. Give --replace if all of that may go") from None
