"""Remove coverage data of processes that were killed while they wrote it.

Coverage.py writes without a journal, so such a file may be damaged at any place. `coverage combine`
fails on some of these files.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

_TABLES = ("coverage_schema", "meta", "file", "context", "arc", "line_bits", "tracer")
_BUSY_SECONDS = 30.0


def remove_damaged(folder: Path) -> None:
    """Remove the data files of this folder that cannot be combined."""
    for file in folder.glob(".coverage.*"):
        if not _is_sound(file):
            file.unlink(missing_ok=True)


def _is_sound(file: Path) -> bool:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            for table in _TABLES:
                connection.execute(f"select 1 from {table} limit 1")  # noqa: S608 - constants
            is_new = connection.execute("select 1 from coverage_schema").fetchone() is None
            (check,) = connection.execute("pragma quick_check").fetchone()
    except sqlite3.Error:
        return False
    return check == "ok" and not is_new
