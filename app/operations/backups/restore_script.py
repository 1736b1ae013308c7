"""The SQL script of pg_restore, split into statements and the rows of COPY.

It runs on our own connection, so that we decide about the COMMIT. pg_restore would commit after the
last row, before age has checked the end of the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from app.operations.backups.errors import BackupError

_END = b"\n\\.\n"
# The comments of pg_restore above each object, and below that for some partitions. A function body
# may have a line that looks like COPY, but not below these comments.
_OBJECT, _TABLE = b"-- Name: ", b"-- Data for Name: "
_FRAME = {b"--\n", b"\n"}
_ROOT = b"-- load via partition root "
_COMPLETE = b"-- PostgreSQL database dump complete\n"
# Lines above the first object. pg_restore 17 and newer sets transaction_timeout, which older ones
# do not know; our connection has no limit anyway. The others are commands of psql.
_SKIPPED = (b"SET transaction_timeout = 0;\n", b"\\restrict ")
_SKIPPED_AT_END = b"\\unrestrict "


@dataclass(frozen=True)
class CopyData:
    """A COPY statement and its rows, valid until the next piece is read."""

    statement: bytes
    rows: Iterator[bytes]


class ScriptReader:
    """Splits a script while it is read. `read` returns nothing at the end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = b""

    def pieces(self) -> Iterator[bytes | CopyData]:
        """Yield pieces of any number of statements, and COPYs. Raises BackupError."""
        lines: list[bytes] = []
        has_table = False
        skipped: tuple[bytes, ...] = _SKIPPED
        while line := self._line():
            if has_table and line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
                yield b"".join(lines)
                lines = []
                rows = self._rows()
                yield CopyData(line, rows)
                for _ in rows:  # skip unread rows
                    pass
            elif not line.startswith(skipped):
                lines.append(line)
            is_frame = line in _FRAME or line.startswith(_ROOT)
            has_table = line.startswith(_TABLE) or (has_table and is_frame)
            if line.startswith((_OBJECT, _TABLE)):
                skipped = ()
            elif line == _COMPLETE:
                skipped = (_SKIPPED_AT_END,)
        yield b"".join(lines)

    def _line(self) -> bytes:
        while (at := self._rest.find(b"\n")) < 0:
            content = self._read()
            if not content:
                line, self._rest = self._rest, b""
                return line
            self._rest += content
        line, self._rest = self._rest[: at + 1], self._rest[at + 1 :]
        return line

    def _rows(self) -> Iterator[bytes]:
        # Search with a line break before the first row, so that the end of an empty table matches.
        kept, skip = b"\n" + self._rest, 1
        while (at := kept.find(_END)) < 0:
            content = self._read()
            if not content:
                raise BackupError("pg_restore ended in the middle of a table")
            edge = max(0, len(kept) - len(_END) + 1)
            yield kept[skip:edge]
            kept, skip = kept[edge:] + content, max(0, skip - edge)
        yield kept[skip : at + 1]
        self._rest = kept[at + len(_END) :]


def apply_script(
    connection: psycopg.Connection[tuple[object, ...]], script: Iterator[bytes | CopyData]
) -> None:
    """Run a script in the caller's transaction. Raises psycopg.Error and errors of the script."""
    for piece in script:
        if isinstance(piece, CopyData):
            with connection.cursor() as cursor, cursor.copy(piece.statement) as copy:
                for rows in piece.rows:
                    copy.write(rows)
        elif piece.strip():
            connection.execute(piece)
