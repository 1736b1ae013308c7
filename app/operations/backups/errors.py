"""The error of backups."""

from app.errors import ForeseenError


class BackupError(ForeseenError):
    """A backup cannot be created, is damaged, or must not be restored here."""
