"""The recipients that backups are encrypted for, and the identity that opens them.

In the local tier the first backup creates an identity in DATA_DIR. The other tiers require
BACKUP_RECIPIENTS: an identity on the same host protects nothing.
"""

from datetime import UTC, datetime
from pathlib import Path

from app.access.local_credentials import write_once
from app.crypto.identity import Identity, IdentityError, new_identity, parse_identity
from app.operations.backups.errors import BackupError
from app.private_files import read_regular
from app.program import PROGRAM
from app.settings import Settings, Tier

LOCAL_FILE = "backup-identity"
_BYTES_MAX = 65_536


def recipients(settings: Settings) -> tuple[str, ...]:
    """Return the recipients of new backups. Raises BackupError, DataFolderError."""
    if settings.backups.recipients:
        return settings.backups.recipients
    if settings.tier is not Tier.LOCAL:
        raise BackupError(
            f"BACKUP_RECIPIENTS: is required in {settings.tier}. Create an identity elsewhere with "
            f"`{PROGRAM} seal keygen --out FILE`, store it there, and set its recipient here"
        )
    path = settings.data_dir / LOCAL_FILE
    write_once(path, new_identity(datetime.now(UTC))[0].strip())
    return _parsed(path).recipients


def identity(settings: Settings, file: Path | None) -> Identity:
    """Return the identity of the file, by default of the local tier. Raises BackupError."""
    local = settings.data_dir / LOCAL_FILE
    if file is None and not (settings.tier is Tier.LOCAL and local.exists()):
        raise BackupError("--identity must name the identity file of a recipient of the backup")
    return _parsed(file or local)


def _parsed(path: Path) -> Identity:
    try:
        return parse_identity(read_regular(path, _BYTES_MAX).decode("ascii", "replace"))
    except OSError as error:
        raise BackupError(f"{path}: cannot be read: {error.strerror}") from None
    except IdentityError as error:
        raise BackupError(f"{path}: {error}") from None
