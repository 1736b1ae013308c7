"""`backup`: make, list and clear away backups; what they are for is in `backup_proof.py`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import msgspec
import typer
from rich.filesize import decimal

from app.access.events import AccessEvent
from app.access.local_credentials import token_key
from app.access.log import AccessLog
from app.cli import backup_proof
from app.cli.actor import origin
from app.cli.backup_frame import AsJson, PublicKey, own_key, prepared, progress
from app.cli.backup_tables import backup_table
from app.cli.terminal import aside, console
from app.crypto.signing import Signer
from app.database import Connection, Database, sql
from app.database.client.primary import Primary
from app.database.client.reasons import reason_of
from app.database.opening import probe, targets
from app.errors import ForeseenError
from app.names import counted
from app.operations.backups import dumping, keys, store
from app.operations.backups.dumping import Request
from app.operations.backups.manifest import Manifest
from app.scripts import Resources, run_script
from app.settings import Settings, Target

cli = typer.Typer(help="Make, prove and put back encrypted backups.", no_args_is_help=True)
# Without a name of its own: its verbs stand beside these.
cli.add_typer(backup_proof.cli)


@cli.command("create")
def create(*, as_json: AsJson = False) -> None:
    """Dump the database, encrypted for BACKUP_RECIPIENTS, into BACKUP_DIR."""
    with prepared() as settings:
        started = time.monotonic()
        signer = Signer(token_key(settings))
        recipients = keys.recipients(settings)
        with targets(settings) as found, progress("dumping") as report:
            target = found.backup
            if len(target.hosts) > 1:
                # pg_dump knows no timelines: it would dump a former primary, too.
                target = asyncio.run(probe(target, settings))
            request = Request(
                target=target,
                settings=settings.database,
                folder=settings.backups.folder,
                recipients=recipients,
                signer=signer,
            )
            manifest = dumping.create(request, report)
            _tell_of(settings, found.app, manifest)
    if as_json:
        typer.echo(msgspec.json.encode(manifest).decode())
        return
    console.print(
        f"{manifest.name}: {decimal(manifest.bytes)} in {time.monotonic() - started:.1f} s, "
        f"{counted(manifest.revisions, 'revision')}, in {settings.backups.folder}",
        soft_wrap=True,
    )


@cli.command("list")
def list_backups(*, public_key: PublicKey = None, as_json: AsJson = False) -> None:
    """Show the backups, the newest first: how old, how large, whose, and when proven."""
    with prepared() as settings:
        found = store.list_all(settings.backups.folder, public_key or own_key(settings))
    if as_json:
        typer.echo(msgspec.json.encode([backup.as_json() for backup in found]).decode())
    elif not found:
        console.print(f"no backups in {settings.backups.folder}", soft_wrap=True)
    else:
        console.print(backup_table(found, datetime.now(UTC)))
        for problem in (backup.problem for backup in found if backup.problem is not None):
            console.print(problem, style="red", soft_wrap=True)


@cli.command("prune")
def prune(
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many; BACKUP_KEEP by default.")
    ] = None,
) -> None:
    """Remove all but the newest backups; never the last that was verified."""
    with prepared() as settings:
        folder = settings.backups.folder
        pruned = store.prune(folder, own_key(settings), keep or settings.backups.keep)
    for name in pruned.removed:
        console.print(f"removed {name}")
    for problem in pruned.left.values():
        console.print(f"left {problem}", soft_wrap=True)
    if not pruned.removed:
        console.print("nothing to remove")


@cli.command("new-epoch")
def new_epoch() -> None:
    """Have every client and replica start anew: after a restore that Flagstone did not do itself,
    such as one to a point in time.
    """

    async def work(resources: Resources) -> list[tuple[str, str]]:
        async def renewed(connection: Connection) -> list[tuple[str, str]]:
            access = origin().did(
                AccessEvent.ADMINISTRATION, detail="every environment has a new epoch"
            )
            await resources.access_log.record(connection, access)
            return [(row["name"], row["epoch"]) async for row in sql.renew_epochs(connection)]

        return await resources.database.transact(renewed)

    for name, epoch in sorted(run_script(work)):
        console.print(f"{name}: epoch {epoch}")


def _tell_of(settings: Settings, target: Target, manifest: Manifest) -> None:
    """Have the access log tell of a backup. One that it cannot tell of is one all the same."""

    async def tell() -> None:
        database = Database(settings.database, Primary(settings.data_dir))
        await database.open(target)
        try:
            access = origin().did(
                AccessEvent.BACKUP_CREATED, resource=manifest.name, detail=f"{manifest.bytes} bytes"
            )
            access_log = AccessLog(database)
            await database.transact(lambda connection: access_log.record(connection, access))
        finally:
            await database.close()

    try:
        asyncio.run(tell())
    except (ForeseenError, OSError, asyncpg.PostgresError) as error:
        reason = reason_of(error)
        aside.print(f"warning: the access log does not tell of {manifest.name}: {reason}")
