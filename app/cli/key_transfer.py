"""`key export` and `key import`: move the key ring to another host in an encrypted file.

No backup of the database has the key ring. After a disaster the import comes first, so it must
work without a database.
"""

from pathlib import Path
from typing import Annotated

import typer

from app.access.events import AccessEvent
from app.cli.access_record import record_or_warn
from app.cli.actor import origin
from app.cli.help import Commands
from app.cli.terminal import console, error_console
from app.crypto.identity import IdentityError
from app.crypto.sealed import SealedError
from app.errors import Conflict, invalid, reason, reported_as
from app.names import counted
from app.private_files import read_regular, write_new
from app.secrets.key_export import EXPORT_BYTES_MAX, open_key_ring, seal_key_ring
from app.secrets.key_sources import change_ring, ring_file, ring_of
from app.secrets.keyring import KeyRing, KeyRingError
from app.settings import Settings, SettingsError, load
from app.settings.env_file import environment
from app.settings.identity import find_identity

cli = Commands()

# The text of these never holds a key.
_ERRORS = (IdentityError, KeyRingError, SealedError)

File = Annotated[Path, typer.Argument(help="File of the exported key ring.")]


@cli.command("export")
def export(
    file: File,
    recipient: Annotated[
        list[str], typer.Option(help="Recipient, age1…, that can decrypt the file; repeatable.")
    ],
) -> None:
    """Write the key ring to a new file, encrypted for the recipients.

    Example: python -m app key export key-ring.age --recipient RECIPIENT

    Works on: files. The access log records it, if the database can be reached.

    Needs: KEY_RING_FILE or KEY_RING.
    """
    settings = load()
    if settings.keys.command is not None:
        raise invalid("KEY_COMMAND", "has the keys: there is no key ring to export")
    ring = ring_of(settings)
    if ring is None or not ring.keys:
        raise invalid("KEY_RING", "must be set: there is no key ring to export")
    with reported_as("--recipient", *_ERRORS):
        sealed = seal_key_ring(ring, recipient)
    if file.exists():
        raise _exists(file)
    # Before the file is written: the access log must have every export that it can have.
    recipients = counted(len(set(recipient)), "recipient")
    _record(settings, ring, f"key ring exported for {recipients}")
    try:
        write_new(file, sealed)
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise invalid("FILE", f"cannot be written: {reason(error)}") from None
    console.print(f"{file} has the key ring, keys: {len(ring.keys)}")


@cli.command("import")
def import_(
    file: File,
    identity: Annotated[
        Path | None,
        typer.Option(help="File of the identity that decrypts it; this host's by default."),
    ] = None,
) -> None:
    """Add the keys of an export to this host's key ring, or create the ring from it.

    The active key of an existing ring stays active.

    Example: python -m app key import key-ring.age --identity identity

    Works on: files. The access log records it, if the database can be reached.

    Needs: KEY_RING_FILE, and an identity that decrypts the export.
    """
    path = _ring_path()
    try:
        content = read_regular(file, EXPORT_BYTES_MAX)
    except OSError as error:
        raise invalid("FILE", f"cannot be read: {reason(error)}") from None
    with reported_as("--identity" if identity else "identity", *_ERRORS):
        opener = find_identity({"IDENTITY_FILE": str(identity)} if identity else environment())
    with reported_as("FILE", *_ERRORS):
        imported = open_key_ring(content, opener)
    before: list[str] = []

    def merged(ring: KeyRing) -> KeyRing:
        before.extend(key.id for key in ring.keys)
        with reported_as("FILE", *_ERRORS):
            return ring.with_missing(imported)

    with reported_as("KEY_RING", *_ERRORS):
        after = change_ring(path, merged)
    added = [key for key in after.keys if key.id not in before]
    for key in added:
        console.print(f"{key.id} is in {path}, {key.state}")
    if not added:
        console.print(f"{path} has every key of the file already")
    keys = counted(len(added), "key")
    detail = f"key ring imported: added {keys} of {len(imported.keys)}"
    try:
        settings = load()
    except SettingsError:
        error_console.print("warning: not in the access log: the settings are invalid")
        return
    _record(settings, after, detail)


def _ring_path() -> Path:
    """Return the file for the imported ring, which need not exist.

    The settings refuse a KEY_RING_FILE that cannot be read. An import creates that file.
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
        raise invalid(field, f"{rule}: there is no file for an imported key ring")
    return path


def _record(settings: Settings, ring: KeyRing, detail: str) -> None:
    resource = ring.active.id if ring.active else None
    record_or_warn(
        settings, origin().did(AccessEvent.ADMINISTRATION, resource=resource, detail=detail)
    )


def _exists(file: Path) -> Conflict:
    return Conflict("file_exists", f"{file} exists already and was not changed")
