"""The free space of the disk with the temporary server, which may also be the database's disk."""

import shutil
import tempfile

from app.operations.backups.errors import BackupError

# Left to the other programs on this disk.
RESERVE_BYTES = 128 * 1024 * 1024
_MIB = 1024 * 1024


def require(size: int) -> None:
    """Check that this many bytes and the reserve are free. Raises BackupError, OSError."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE_BYTES:
        raise BackupError(
            f"the restore needs at least {(size + RESERVE_BYTES) / _MIB:,.0f} MiB in {folder}, "
            f"which has {free / _MIB:,.0f} MiB free. Free space there, or set TMPDIR to a folder "
            "on a larger disk"
        )
