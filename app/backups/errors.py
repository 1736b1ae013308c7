"""What goes wrong with backups, in a sentence for an operator."""


class BackupError(Exception):
    """A backup cannot be made, is not what it should be, or must not be put back here."""
