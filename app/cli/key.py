"""`key`: the key ring and the data keys. Key material is never shown, except by `generate`.

One module for the whole command, with its two tables.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.text import Text

from app.access.events import AccessEvent
from app.cli import key_transfer
from app.cli.actor import origin
from app.cli.help import Commands
from app.cli.options import AsJson, EnvironmentName
from app.cli.terminal import (
    confirm,
    console,
    counting_columns,
    error_console,
    print_json,
    progress_display,
    records,
    show_table,
)
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import invalid
from app.names import counted
from app.program import PROGRAM
from app.scripts import Resources, run_script, run_transaction
from app.secrets import data_keys
from app.secrets.key_sources import change_ring, ring_file
from app.secrets.key_wrapping import StoredDataKey
from app.secrets.keyring import KeyRing, KeyRingError, KeyState, new_key
from app.secrets.vault import list_data_keys
from app.settings import load

cli = Commands(
    """Manage the keys that encrypt secrets: the key ring, and the data keys in the database.

    The key ring has the key-encryption keys. Its active key wraps the data keys, and each
    environment has an active data key for its secrets.

    Works on: the database, as the role of DATABASE_MIGRATOR_URL, and the key ring.

    Needs: the settings of the service, with KEY_RING_FILE or KEY_COMMAND.
    """
)
cli.add_typer(key_transfer.cli)

_KEY = ("key", "state", "data keys")
_DATA_KEY = ("data key", "environment", "wrapped by", "state", "entries", "history")
# Above the service's limit for statements: it may wait for another vacuum of the table.
_VACUUM_SECONDS = 600


@cli.command("generate")
def generate(
    file: Annotated[
        Path | None, typer.Option(help="File of the key ring; KEY_RING_FILE by default.")
    ] = None,
) -> None:
    """Add a new key to the key ring. Without a file, print the key.

    The ring is created if needed, and its first key is active. A later key only decrypts until
    `key rotate` makes it active. Before you rotate, give the new key to every instance.

    Example: python -m app key generate --file key-ring

    Works on: the file of the key ring.

    Needs: --file, or KEY_RING_FILE.
    """
    path = file or ring_file(load())
    today = datetime.now(UTC).date()
    if path is None:
        typer.echo(new_key(KeyState.ACTIVE, today).line)
        error_console.print("the line above is the key: put it into KEY_RING, on every instance")
        return

    def with_new(ring: KeyRing) -> KeyRing:
        state = KeyState.DECRYPT if ring.keys else KeyState.ACTIVE
        return ring.with_key(new_key(state, today))

    key = change_ring(path, with_new).keys[-1]
    if key.state is KeyState.ACTIVE:
        console.print(f"{key.id} is in {path}, and wraps new data keys")
        return
    console.print(f"{key.id} is in {path}, and only decrypts")
    console.print(f"give the file to every instance, then run `{PROGRAM} key rotate {key.id}`")


@cli.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """List the keys of the ring, the data keys they wrap, and how many values each encrypts.

    Example: python -m app key list
    """

    async def work(
        resources: Resources,
    ) -> tuple[KeyRing | None, list[tuple[StoredDataKey, int, int]]]:
        ring = resources.vault.keys.ring
        async with resources.database.connection() as connection:
            stored = await list_data_keys(connection)
            return ring, [(key, *await _sealed(connection, key)) for key in stored]

    ring, stored = run_script(work)
    wrapped = Counter(key.kek_id for key, _, _ in stored if not key.destroyed_at)
    keys = ring_rows(ring, wrapped)
    data_keys = [_data_key_row(*row) for row in stored]
    if as_json:
        listed = records(_KEY, keys), records(_DATA_KEY, data_keys)
        print_json(dict(zip(("keys", "data_keys"), listed, strict=True)))
        return
    show_table(_KEY, keys, "Key-encryption keys")
    show_table(_DATA_KEY, data_keys, "Data keys")


def ring_rows(ring: KeyRing | None, wrapped: Counter[str]) -> list[tuple[str, str | Text, int]]:
    """Return the keys of the ring and those missing from it, never their material."""
    other = "of KEY_COMMAND" if ring is None else Text("missing", style="red")
    states = {key.id: key.state for key in (ring.keys if ring is not None else ())}
    names = [*states, *sorted(wrapped.keys() - states.keys())]
    return [(name, states.get(name, other), wrapped[name]) for name in names]


def _data_key_row(key: StoredDataKey, entries: int, history: int) -> tuple[str | int, ...]:
    """Return a data key, with the entries and the values of the history that it sealed."""
    state = f"active since {key.created_at:%Y-%m-%d}"
    if key.retired_at is not None:
        state = f"retired {key.retired_at:%Y-%m-%d}"
    if key.destroyed_at is not None:
        state = f"destroyed {key.destroyed_at:%Y-%m-%d}"
    kek_id = key.kek_id if not key.destroyed_at else "-"
    return key.id.hex(), key.environment, kek_id, state, entries, history


@cli.command("rotate")
def rotate(
    kek_id: Annotated[
        str | None, typer.Argument(help="Key of the ring to make active first.", metavar="KEY")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--data-keys",
            help="Environment that gets a new data key instead; repeatable, * for all.",
            metavar="ENVIRONMENT",
        ),
    ] = None,
) -> None:
    """Wrap every data key with the active key, or encrypt secrets with a new data key.

    The service may run meanwhile. An interrupted rotation continues with the next call.

    Example: python -m app key rotate --data-keys local
    """
    if environment:
        if kek_id is not None:
            raise typer.BadParameter("give a key or --data-keys, not both")
        run_script(lambda r: _renew(r, environment), as_owner=True)
        return
    if kek_id is not None:
        _change_ring(lambda ring: ring.activated(kek_id))

    async def work(resources: Resources) -> int:
        with progress_display() as progress:
            task = progress.add_task("wrapping data keys", total=None)
            return await data_keys.rewrap(
                resources.database,
                resources.vault,
                resources.access_log,
                origin=origin(),
                report=lambda done, total: progress.update(task, completed=done, total=total),
            )

    console.print(f"{run_script(work, as_owner=True)} data keys wrapped again")


@cli.command("retire")
def retire(
    kek_id: Annotated[str, typer.Argument(help="ID of the key, as in `key list`.", metavar="KEY")],
) -> None:
    """Stop using a key. Refused while it wraps a data key.

    Example: python -m app key retire KEY
    """

    async def write(resources: Resources, connection: Connection) -> None:
        # No data key is stored between the count and the change; see DataKeyCache.confirm.
        await connection.execute("lock table data_keys in share mode")
        count = await sql.count_data_keys_wrapped_by(connection, kek_id=kek_id)
        if count:
            raise KeyRingError(
                f"{count} data keys are wrapped by {kek_id}. Run `{PROGRAM} key rotate` first"
            )
        # Before the change: without a row in the access log no key is retired.
        access = origin().did(AccessEvent.ADMINISTRATION, resource=kek_id, detail="key retired")
        await resources.access_log.record(connection, access)
        if resources.settings.keys.command is None:
            _change_ring(lambda ring: ring.retired(kek_id))

    run_transaction(write, as_owner=True)
    console.print(f"{kek_id} is retired; only earlier backups still need it")


@cli.command("shred")
def shred(
    environment: EnvironmentName,
    confirmed: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            help="Name of the environment again, instead of the prompt for it.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Destroy the data keys of an environment, and so its secrets, old and current.

    Everything else stays, and new secrets can be written. Earlier backups and write-ahead logs
    still have the wrapped keys. To complete the shredding, delete those backups and logs. Or
    rotate to a new key, then retire and erase the old one.

    Example: python -m app key shred local --confirm local
    """
    confirm(environment, confirmed, "destroy its secrets without return")

    async def work(resources: Resources) -> Sequence[bytes]:
        destroyed = await resources.database.transact(
            lambda c: data_keys.shred(c, resources.access_log, environment, origin=origin())
        )
        async with resources.database.connection() as connection:
            # A deleted row stays in the table's file until a vacuum.
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
            names = [row.name for row in await environments.list_all(connection)]
    with progress_display(*counting_columns()) as progress:
        for name in names:
            await _renew_one(resources, name, progress)


async def _renew_one(resources: Resources, name: str, progress: Progress) -> None:
    database, vault = resources.database, resources.vault
    async with database.connection() as connection:
        await environments.get(connection, name)
        left = await data_keys.pending(connection, name)
    if left:
        console.print(f"{name}: continuing with {counted(left, 'value')} of an earlier rotation")
    elif not await database.transact(
        lambda c: data_keys.renew(c, vault, resources.access_log, name, origin=origin())
    ):
        console.print(f"{name}: has no secrets")
        return
    async with database.connection() as connection:
        left = await data_keys.pending(connection, name)
    task = progress.add_task(f"sealing {name}", total=left)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress.update(task, completed=done, total=max(left, done))

    await data_keys.reseal(database, vault, name, report)
    console.print(f"{name}: {counted(done, 'value')} encrypted with the new data key")


def _change_ring(change: Callable[[KeyRing], KeyRing]) -> None:
    """Change the key ring of KEY_RING_FILE. Raises Invalid where there is no file."""
    path = ring_file(load())
    if path is None:
        raise invalid("KEY_RING_FILE", "must name the file of the key ring to change")
    change_ring(path, change)


async def _sealed(connection: Connection, key: StoredDataKey) -> tuple[int, int]:
    row = await sql.count_sealed_by(connection, environment=key.environment, ids=[key.id])
    return row["entries"], row["befores"] + row["afters"]
