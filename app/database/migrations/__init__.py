"""The history of the schema: files in `migrations/`, read by yoyo, recorded in our own table."""

from app.database.migrations.files import MigrationError, MigrationFile, new_files, read_files
from app.database.migrations.runner import Ledger, Migrator

__all__ = ["Ledger", "MigrationError", "MigrationFile", "Migrator", "new_files", "read_files"]
