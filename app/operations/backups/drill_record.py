"""The result of the last drill, and the lock of a running one, as files in BACKUP_DIR.

Instances that share the folder share both. The kernel releases the lock with the last process that
inherited it, so a killed instance blocks no later drill.
"""

import fcntl
import json
import os
from datetime import datetime
from pathlib import Path

import msgspec

from app.private_files import read_regular, store_private

RECORD = "drill.json"
_LOCK = "drill.lock"
_BYTES_MAX = 65_536


class DrillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a drill. `problem` says why it failed, None after a success."""

    at: datetime
    backup: str
    seconds: float
    instance: str
    problem: str | None


def read(folder: Path) -> DrillRecord | None:
    """Return the last record, None if the file is missing or damaged."""
    try:
        return msgspec.json.decode(read_regular(folder / RECORD, _BYTES_MAX), type=DrillRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def write(folder: Path, record: DrillRecord) -> None:
    """Replace the record. Raises OSError."""
    text = json.dumps(msgspec.to_builtins(record)) + "\n"
    store_private(folder / RECORD, text)


def lock(folder: Path) -> int | None:
    """Return a descriptor with the lock of the drill, None if another process has it.

    The caller closes it. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / _LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
