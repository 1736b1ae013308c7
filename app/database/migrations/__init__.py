"""Migrations: files in `migrations/`, read by yoyo and recorded in the table `migrations`.

`runner.py` applies them. A serving process imports it, with yoyo and psycopg, only if it migrates.
"""

from app.database.migrations.files import (
    LOCK_KEY,
    MigrationError,
    MigrationFile,
    new_files,
    read_files,
)

__all__ = ["LOCK_KEY", "MigrationError", "MigrationFile", "new_files", "read_files"]
