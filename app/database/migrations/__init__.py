"""Migrations: files in `migrations/`, read by yoyo and recorded in the table `migrations`."""

from app.database.migrations.files import MigrationError, MigrationFile, new_files, read_files
from app.database.migrations.runner import Ledger, Migrator

__all__ = ["Ledger", "MigrationError", "MigrationFile", "Migrator", "new_files", "read_files"]
