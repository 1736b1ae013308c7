"""What goes wrong with backups, in a sentence for an operator."""

from app.errors import ForeseenError


class BackupError(ForeseenError):
    """A backup cannot be made, is not what it should be, or must not be put back here."""
