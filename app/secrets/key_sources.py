"""Load key-encryption keys from a variable, its file, a command, or DATA_DIR in the local tier."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from app.access.local_credentials import DataFolderError, write_once
from app.errors import reason
from app.log import logger
from app.private_files import exclusive_in, replace_private, write_new
from app.secrets.key_command import CommandWrapper
from app.secrets.key_wrapping import RingWrapper, Wrapper, read_key_ring
from app.secrets.keyring import KeyRing, KeyRingError, KeyState, new_key, parse_key_ring
from app.settings import Settings, Tier

log = logger(__name__)

_LOCAL_FILE = "key-ring"
_OTHERS = 0o027


def wrapper_of(settings: Settings) -> Wrapper | None:
    """Return the wrapper of the settings, None without one: then secrets cannot be used.

    Creates a key ring in DATA_DIR in the local tier. Raises KeyRingError and DataFolderError.
    """
    file = ring_file(settings)
    if file is not None and settings.keys.ring is None:
        first = KeyRing((new_key(KeyState.ACTIVE, datetime.now(UTC).date()),))
        write_once(file, first.text.strip())
    wrapper = present_wrapper_of(settings)
    # A warning only: files that an orchestrator mounts into a container often have this mode.
    if file is not None and file.stat().st_mode & _OTHERS:
        rule = "should be closed to others, and to its group for writing"
        log.warning("key_ring_open", file=str(file), rule=rule)
    return wrapper


def ring_of(settings: Settings) -> KeyRing | None:
    """Return the existing key ring, None without one or with a command. Raises KeyRingError."""
    file, ring = ring_file(settings), settings.keys.ring
    try:
        if file is not None:
            # Only the file in DATA_DIR may be missing.
            return read_key_ring(file) if ring is not None or file.exists() else None
        return None if ring is None else parse_key_ring(ring.reveal())
    except KeyRingError as error:
        raise KeyRingError(f"KEY_RING: {error}") from None


def present_wrapper_of(settings: Settings) -> Wrapper | None:
    """Return the wrapper like `wrapper_of`, but create no key ring. Raises KeyRingError."""
    if settings.keys.command is not None:
        return CommandWrapper(settings.keys.command)
    ring = ring_of(settings)
    return None if ring is None else RingWrapper(ring, ring_file(settings))


def ring_file(settings: Settings) -> Path | None:
    """Return the file of the key ring, None when a variable holds it or there is none."""
    keys = settings.keys
    if keys.ring_file is not None or keys.ring is not None or keys.command is not None:
        return keys.ring_file
    return settings.data_dir / _LOCAL_FILE if settings.tier is Tier.LOCAL else None


def change_ring(path: Path, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """Change the key ring in its file, which is created if missing, and return the ring.

    A lock serialises concurrent changes; otherwise one could overwrite the new key of another.
    Running processes reload the file. A symbolic link stays, and its target is changed. Raises
    KeyRingError, DataFolderError and OSError.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_in(path.parent):
        exists = path.exists()
        ring = change(read_key_ring(path) if exists else KeyRing())
        if exists:
            replace_private(path, ring.text)
        else:
            _write_first(path, ring)
    return ring


def _write_first(path: Path, ring: KeyRing) -> None:
    # Not write_once: it ignores a file that another start has just created, and this ring is lost.
    try:
        write_new(path, ring.text)
    except FileExistsError:
        raise KeyRingError(f"{path} was created by another process; try again") from None
    except OSError as error:
        raise DataFolderError(f"{path} cannot be written: {reason(error)}") from None
