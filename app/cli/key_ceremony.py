"""`key export` and `key import`: the key ring leaves a host sealed, and comes to another one.

The ring is in no backup of the database, so it has a way of its own. After a disaster it comes
first: there may be no database yet that could be told.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import asyncpg
import psycopg
import typer

from app import log
from app.access.events import Access, AccessEvent
from app.access.log import AccessLog
from app.cli.actor import origin
from app.cli.terminal import aside, console
from app.crypto.identity import IdentityError
from app.crypto.sealed import SealedError
from app.database.client.faults import DatabaseBugError
from app.database.client.reasons import reason_of
from app.database.embedded import EmbeddedError
from app.database.opening import embedded_server, open_database
from app.errors import Conflict, ForeseenError, invalid, reason
from app.names import counted
from app.private_files import read_regular, write_new
from app.scripts import foreseen_errors
from app.secrets.key_export import EXPORT_BYTES_MAX, open_key_ring, seal_key_ring
from app.secrets.key_sources import change_ring, ring_file, ring_of
from app.secrets.keyring import KeyRing, KeyRingError
from app.settings import Settings, SettingsError, load
from app.settings.env_file import environment
from app.settings.identity import find_identity

cli = typer.Typer()

# For the whole attempt to tell the access log: whoever restores a service should not wait for it.
_LOG_SECONDS = 8.0
_UNTOLD = (
    *(ForeseenError, DatabaseBugError, OSError, psycopg.Error),
    *(asyncpg.PostgresError, asyncpg.InterfaceError),
)

File = Annotated[Path, typer.Argument(help="The age file of the key ring.")]


@cli.command("export")
def export(
    file: File,
    recipient: Annotated[list[str], typer.Option(help="Who can open it: age1…, repeatable.")],
) -> None:
    """Write the key ring into a new file that the recipients' identities open, and nobody else."""
    with foreseen_errors():
        settings = load()
        if settings.keys.command is not None:
            raise invalid("KEY_COMMAND", "has the keys: there is no key ring to export")
        ring = ring_of(settings)
        if ring is None or not ring.keys:
            raise invalid("KEY_RING", "must be set: there is no key ring to export")
        with _told("--recipient"):
            sealed = seal_key_ring(ring, recipient)
        if file.exists():
            raise _taken(file)
        # Before the file is there, so that nothing leaves that the log could have told of.
        count = len(set(recipient))
        _tell(settings, ring, f"key ring exported for {counted(count, 'recipient')}")
        try:
            write_new(file, sealed)
        except FileExistsError:
            raise _taken(file) from None
        except OSError as error:
            raise invalid("FILE", f"cannot be written: {reason(error)}") from None
    console.print(f"{file} holds the key ring, keys: {len(ring.keys)}", soft_wrap=True)


@cli.command("import")
def import_(
    file: File,
    identity: Annotated[
        Path | None, typer.Option(help="File of the identity that opens it; else this host's.")
    ] = None,
) -> None:
    """Make the key ring of an export this host's, or add the keys that are missing here.

    The key that is active here stays so. Needs no database.
    """
    with foreseen_errors():
        path = _place()
        try:
            content = read_regular(file, EXPORT_BYTES_MAX)
        except OSError as error:
            raise invalid("FILE", f"cannot be read: {reason(error)}") from None
        with _told("--identity" if identity else "identity"):
            found = find_identity({"IDENTITY_FILE": str(identity)} if identity else environment())
        with _told("FILE"):
            ring = open_key_ring(content, found)
        before: list[str] = []

        def merged(ours: KeyRing) -> KeyRing:
            before.extend(key.id for key in ours.keys)
            with _told("FILE"):
                return ours.with_missing(ring)

        with _told("KEY_RING"):
            after = change_ring(path, merged)
        added = [key for key in after.keys if key.id not in before]
        for key in added:
            console.print(f"{key.id} is in {path}, {key.state}", soft_wrap=True)
        if not added:
            console.print(f"{path} has every key of it already", soft_wrap=True)
        count = len(added)
        _tell(
            None,
            after,
            f"key ring imported: added {counted(count, 'key')} of {len(ring.keys)}",
        )


def _place() -> Path:
    """Return the file that is to have the ring, which may not be there yet.

    The settings refuse a KEY_RING_FILE that cannot be read, which is what an import mends.
    """
    environ = environment()
    named = environ.get("KEY_RING_FILE", "").strip()
    others = (environ.get("KEY_RING", ""), environ.get("KEY_COMMAND", ""))
    if named and not any(other.strip() for other in others) and not Path(named).exists():
        return Path(named)
    settings = load()
    path = ring_file(settings)
    if path is None:
        field = "KEY_COMMAND" if settings.keys.command is not None else "KEY_RING_FILE"
        rule = "has the keys" if field == "KEY_COMMAND" else "must name the key ring's file"
        raise invalid(field, f"{rule}: there is nowhere to put an imported key ring")
    return path


def _tell(settings: Settings | None, ring: KeyRing, detail: str) -> None:
    """Write a row of the access log, or say why there is none."""
    active = ring.active
    access = origin().did(
        AccessEvent.ADMINISTRATION, resource=active.id if active else None, detail=detail
    )
    try:
        asyncio.run(_record(settings or load(), access))
    except _UNTOLD as error:
        reason = (
            "the settings are not usable" if isinstance(error, SettingsError) else _short(error)
        )
        aside.print(f"the access log does not tell of this: {reason}", soft_wrap=True)


async def _record(settings: Settings, access: Access) -> None:
    if settings.database.target is None and not embedded_server(settings).is_made:
        # It would be made, for a log that begins with it.
        raise EmbeddedError("there is no database yet")
    log.configure(settings.log.level, settings.log.format)
    hurried = replace(settings.database, connect_attempts=1)
    async with (
        asyncio.timeout(_LOG_SECONDS),
        open_database(replace(settings, database=hurried)) as database,
    ):
        access_log = AccessLog(database)
        await database.transact(lambda c: access_log.record(c, access))


def _short(error: BaseException) -> str:
    if isinstance(error, ForeseenError):
        return str(error)
    return f"the database cannot be reached ({reason_of(error)})"


def _taken(file: Path) -> Conflict:
    return Conflict("file_exists", f"{file} is there already, and stays as it is")


@contextmanager
def _told(field: str) -> Iterator[None]:
    """Tell what went wrong in one line; none of these holds a key."""
    try:
        yield
    except (IdentityError, KeyRingError, SealedError) as error:
        raise invalid(field, str(error)) from None
