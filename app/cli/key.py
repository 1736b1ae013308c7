"""`key`: the key ring, and what its keys have wrapped; key material is never shown."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress

from app.access.events import AccessEvent, Origin
from app.cli import key_ceremony
from app.cli.actor import operator
from app.cli.key_tables import data_key_table, ring_table
from app.cli.terminal import aside, console, progress_display
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import invalid
from app.names import counted
from app.scripts import Resources, foreseen_errors, run_script
from app.secrets import data_keys, resealing
from app.secrets.key_sources import change_ring, ring_file
from app.secrets.keyring import KeyRing, KeyRingError, KeyState, new_key
from app.secrets.models import StoredDataKey
from app.settings import load

cli = typer.Typer(help="The keys that secrets are kept with.", no_args_is_help=True)

cli.add_typer(key_ceremony.cli)

# Longer than a statement of the service may take: it may wait for another vacuum of the table.
_VACUUM_SECONDS = 600

Environment = Annotated[str, typer.Argument(help="Name of the environment.")]


@cli.command("generate")
def generate(
    file: Annotated[
        Path | None, typer.Option(help="The key ring; by default that of KEY_RING_FILE.")
    ] = None,
) -> None:
    """Add a new key to the key ring, which is made if there is none; or print a key for it.

    The first key is active. A later one only decrypts, so that every instance can be given it
    before `rotate` makes it the active one.
    """
    with foreseen_errors():
        path = file or ring_file(load())
        today = datetime.now(UTC).date()
        if path is None:
            typer.echo(new_key(KeyState.ACTIVE, today).line)
            aside.print("the line above is the key: put it into KEY_RING, on every instance")
            return

        def with_new(ring: KeyRing) -> KeyRing:
            state = KeyState.DECRYPT if ring.keys else KeyState.ACTIVE
            return ring.with_key(new_key(state, today))

        key = change_ring(path, with_new).keys[-1]
    console.print(f"{key.id} is in {path}, {_MEANING[key.state]}", soft_wrap=True)
    if key.state is KeyState.DECRYPT:
        console.print(f"give the file to every instance, then: key rotate {key.id}")


_MEANING = {
    KeyState.ACTIVE: "and wraps what is new",
    KeyState.DECRYPT: "only to decrypt as yet",
    KeyState.RETIRED: "and is not used any more",
}


@cli.command("list")
def list_keys() -> None:
    """Show the keys of the ring, the data keys that they have wrapped, and what these sealed."""

    async def work(
        resources: Resources,
    ) -> tuple[KeyRing | None, list[tuple[StoredDataKey, int, int]]]:
        ring = resources.vault.ring
        async with resources.database.connection() as connection:
            stored = await data_keys.list_all(connection)
            return ring, [(key, *await _sealed(connection, key)) for key in stored]

    ring, found = run_script(work)
    wrapped = Counter(key.kek_id for key, _, _ in found if key.wrapped is not None)
    console.print(ring_table(ring, wrapped))
    console.print(data_key_table(found) if found else "no data keys: nothing is sealed yet")


@cli.command("rotate")
def rotate(
    kek_id: Annotated[
        str | None, typer.Argument(help="Make this key of the ring the active one first.")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--data-keys", help="Give this environment a new data key instead; repeatable, or *."
        ),
    ] = None,
) -> None:
    """Wrap every data key by the active key; or seal an environment's secrets by a new data key.

    Both go on under load, and where they were interrupted.
    """
    if environment:
        if kek_id is not None:
            raise typer.BadParameter("give a key or --data-keys, not both")
        run_script(lambda r: _renew(r, environment), as_owner=True)
        return
    if kek_id is not None:
        with foreseen_errors():
            _change_ring(lambda ring: ring.activated(kek_id))

    async def work(resources: Resources) -> int:
        with progress_display() as progress:
            task = progress.add_task("wrapping data keys", total=None)
            return await data_keys.rewrap(
                resources.database,
                resources.vault,
                resources.access_log,
                origin=_origin(),
                report=lambda done, total: progress.update(task, completed=done, total=total),
            )

    console.print(f"{run_script(work, as_owner=True)} data keys wrapped anew")


@cli.command("retire")
def retire(kek_id: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Stop using a key; refused for as long as it has wrapped a data key."""

    async def work(resources: Resources) -> None:
        access = _origin().did(AccessEvent.ADMINISTRATION, resource=kek_id, detail="key retired")

        async def retired(connection: Connection) -> None:
            # No data key is stored between the count and the change; see DataKeyCache.confirm.
            await connection.execute("lock table data_keys in share mode")
            count = await sql.count_data_keys_wrapped_by(connection, kek_id=kek_id)
            if count:
                raise KeyRingError(f"{count} data keys are wrapped by {kek_id}; rotate first")
            # First, so that nothing is retired that the log does not have.
            await resources.access_log.record(connection, access)
            if resources.settings.keys.command is None:
                _change_ring(lambda ring: ring.retired(kek_id))

        await resources.database.transact(retired)

    run_script(work, as_owner=True)
    console.print(f"nothing needs {kek_id} any more, apart from backups that are older than now")


@cli.command("shred")
def shred(
    environment: Environment,
    confirm: Annotated[
        str | None, typer.Option(help="The name again, instead of typing it when asked.")
    ] = None,
) -> None:
    """Destroy the data keys of an environment: no secret that it has or had can be read again.

    All else stays, and new secrets can be written. Backups and the write-ahead log of before still
    hold the wrapped keys: the shredding is complete when those are gone, or when the key that
    wrapped them is (rotate to a new one, retire and erase the old).
    """
    typed = confirm or typer.prompt(f"Type {environment} to destroy its secrets for ever")
    if typed != environment:
        raise typer.BadParameter("that is not the name; nothing was done")

    async def work(resources: Resources) -> Sequence[bytes]:
        destroyed = await resources.database.transact(
            lambda c: data_keys.shred(c, resources.access_log, environment, origin=_origin())
        )
        async with resources.database.connection() as connection:
            # The old row is only marked as gone: this takes it out of the table's file.
            await connection.execute(
                f"set statement_timeout = '{_VACUUM_SECONDS}s'; "
                f"set lock_timeout = '{_VACUUM_SECONDS}s'"
            )
            await connection.execute("vacuum data_keys", timeout=_VACUUM_SECONDS)
        return destroyed

    count = len(run_script(work, as_owner=True))
    console.print(f"{count} data keys of {environment} destroyed")


async def _renew(resources: Resources, names: list[str]) -> None:
    async with resources.database.connection() as connection:
        if names == ["*"]:
            names = [each.name for each in await environments.list_all(connection)]
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with progress_display(*columns) as progress:
        for name in names:
            await _renew_one(resources, name, progress)


async def _renew_one(resources: Resources, name: str, progress: Progress) -> None:
    database, vault = resources.database, resources.vault
    async with database.connection() as connection:
        await environments.get(connection, name)
        left = await resealing.pending(connection, name)
    if left:
        console.print(f"{name}: going on with {counted(left, 'value')} of an earlier rotation")
    elif not await database.transact(
        lambda c: data_keys.renew(c, vault, resources.access_log, name, origin=_origin())
    ):
        console.print(f"{name}: has no secrets")
        return
    async with database.connection() as connection:
        left = await resealing.pending(connection, name)
    task = progress.add_task(f"sealing {name}", total=left)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress.update(task, completed=done, total=max(left, done))

    await resealing.reseal(database, vault, name, report)
    console.print(f"{name}: {counted(done, 'value')} sealed by the new data key")


def _change_ring(change: Callable[[KeyRing], KeyRing]) -> None:
    """Change the key ring of this process, where it is a file."""
    path = ring_file(load())
    if path is None:
        raise invalid("KEY_RING_FILE", "must name the key ring, if it is to be changed from here")
    change_ring(path, change)


async def _sealed(connection: Connection, key: StoredDataKey) -> tuple[int, int]:
    row = await sql.count_sealed_by(connection, environment=key.environment, ids=[key.id])
    return row["entries"], row["befores"] + row["afters"]


def _origin() -> Origin:
    return Origin(actor=operator())
